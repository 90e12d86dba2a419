"""Conflicts: training images whose duplicates have another label. Validation and test images keep their label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from data_tools.config import MergeConfig
from data_tools.reading.manifest import DROPPED, KEPT, Row


def resolve_conflicts(groups: Iterable[Sequence[Row]], config: MergeConfig) -> None:
    """Relabel or drop the kept training images of every group with more than one label, as `merge.conflicts` says.

    `prefer` takes the label from the source `merge.prefer` if that gives exactly one, and drops the image otherwise.
    `majority` takes the most frequent label in the group, duplicates included, and drops the image at a tie. `drop`
    always drops it. `keep` leaves each image its own label.
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
                row.label, row.votes = label, ""


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
