"""Guards: the merge stops before it drops different images as duplicates, whatever found them.

Images with equal pixels count once, because dropping repeats of them loses nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from data_tools.config import GuardsConfig, MergeConfig
from data_tools.reading.manifest import DUPLICATE, Row
from foundation.errors import UserError

_SAFE = "merge.duplicates=pixels drops images with equal pixels only"
_SHOWN = 3  # examples


def guard_groups(groups: Iterable[Sequence[Row]], config: GuardsConfig) -> None:
    """Raise `UserError` if a group has too much of a class, or too many images are in groups with several labels."""
    distinct = [list({row.pixels_sha256: row for row in group}.values()) for group in groups]
    classes = Counter(row.label for group in distinct for row in group)
    mixed = 0
    for group in distinct:
        (label, number), *others = Counter(row.label for row in group).most_common()
        if number > max(config.group * classes[label], config.at_least):
            raise UserError(
                f"one group of duplicates has {number} of the {classes[label]} different images of class '{label}', "
                f"more than the fraction merge.guards.group={config.group:g}, such as {_examples(group)}; these are "
                f"hardly copies: {_SAFE}; merge.guards.group=1 lifts this limit"
            )
        mixed += len(group) if others else 0
    total = sum(classes.values())
    if mixed > max(config.mixed_labels * total, config.at_least):
        example = next(group for group in distinct if len({row.label for row in group}) > 1)
        raise UserError(
            f"{mixed} of {total} different images are in groups of duplicates that have several labels, more than the "
            f"fraction merge.guards.mixed_labels={config.mixed_labels:g}, such as {_examples(example)}; these are "
            f"hardly copies: {_SAFE}; merge.guards.mixed_labels=1 lifts this limit"
        )


def guard_losses(rows: Iterable[Row], config: MergeConfig) -> None:
    """Raise `UserError` if a class, or the validation or test images of a source, lose too many as duplicates.

    An image is not lost if one with equal pixels stays, for a split: in this split. With an authoritative source only
    its own images count for the splits.
    """
    rows = list(rows)
    kept = {row.pixels_sha256 for row in rows if row.status != DUPLICATE}
    kept_in = {(row.split, row.pixels_sha256) for row in rows if row.status != DUPLICATE}
    classes: dict[str, dict[str, bool]] = defaultdict(dict)  # pixels -> whether they stay
    splits: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for row in rows:
        pixels, split = row.pixels_sha256, config.split_map[row.original_split or "train"]
        classes[row.label][pixels] = pixels in kept
        if split != "train" and config.governs in (None, row.source):
            splits[row.source, split][pixels] = (split, pixels) in kept_in
    guards = config.guards
    for label, stays in classes.items():
        _limit(stays.values(), f"class '{label}'", "lost", guards.lost, guards.at_least)
    for (source, split), stays in splits.items():
        what = f"the {split} split of {source}"
        _limit(stays.values(), what, "lost_evaluation", guards.lost_evaluation, guards.at_least)


def _limit(stays: Collection[bool], what: str, name: str, fraction: float, at_least: int) -> None:
    lost = len(stays) - sum(stays)
    if lost > max(fraction * len(stays), at_least):
        raise UserError(
            f"{what} would lose {lost} of its {len(stays)} different images as duplicates, more than the fraction "
            f"merge.guards.{name}={fraction:g}; {_SAFE}; merge.guards.{name}=1 lifts this limit"
        )


def _examples(group: Sequence[Row]) -> str:
    labels: dict[str, Row] = {}
    for row in group:
        labels.setdefault(row.label, row)
    shown = [*labels.values(), *(row for row in group if row not in labels.values())][:_SHOWN]
    return ", ".join(row.id for row in shown)
