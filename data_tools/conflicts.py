"""What becomes of a training image whose copies carry another label. Evaluation images keep what they came with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from data_tools.config import MergeConfig
from data_tools.manifest import DROPPED, KEPT, Row


def settle(groups: Iterable[Sequence[Row]], config: MergeConfig) -> None:
    """Relabel or drop the kept training images of every group with more than one label, as `merge.conflicts` says.

    `prefer`: the label that `merge.prefer` gives, where it gives one and no second; else the image is dropped.
    `majority`: the label of most of the group's images, duplicates included; a tie drops. `drop` drops. `keep` leaves
    each image its own.
    """
    if config.conflicts == "keep":
        return
    for group in groups:
        if len({row.label for row in group}) < 2:
            continue
        label, votes = _agreed(group, config), _votes(group)
        for row in group:
            if row.status != KEPT or row.split != "train":
                continue
            if label is None:
                row.status, row.reason = DROPPED, f"labels in conflict: {votes}"
            elif row.label != label:
                row.reason = f"relabelled from {row.label} by merge.conflicts={config.conflicts}: {votes}"
                row.label = label


def _agreed(voters: Sequence[Row], config: MergeConfig) -> str | None:
    if config.conflicts == "prefer":
        labels = {row.label for row in voters if row.source == config.prefer}
        return labels.pop() if len(labels) == 1 else None
    if config.conflicts == "majority":
        (first, most), *others = Counter(row.label for row in voters).most_common(2)
        return first if not others or others[0][1] < most else None
    return None


def _votes(voters: Sequence[Row]) -> str:
    return ", ".join(f"{label} {number}" for label, number in sorted(Counter(row.label for row in voters).items()))
