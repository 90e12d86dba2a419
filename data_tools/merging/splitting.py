"""Draw a stratified fraction of the training images as another split, by groups of duplicates."""

from __future__ import annotations

from collections.abc import Iterable

from data_tools.config import DrawConfig
from data_tools.randomness import digest
from data_tools.reading.manifest import Row


def draw(rows: Iterable[Row], split: str, config: DrawConfig, leave: int = 1) -> None:
    """Move about `config.fraction` of each class from the training split of `rows` to `split`.

    At least one group of each class moves, if it has two. At least one stays, or `leave` if the class has more, for
    draws that follow. The images of a group move together and count for the class of its first member; with `by_image`
    each image moves alone. A hash of seed and group decides which groups move, so the order of the sources and the
    images of other classes do not matter.
    """
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        if row.split == "train":
            groups.setdefault(row.id if config.by_image else row.group, []).append(row)
    classes: dict[str, list[list[Row]]] = {}
    for name in sorted(groups, key=lambda name: digest(config.seed, split, name)):
        classes.setdefault(groups[name][0].label, []).append(groups[name])
    for members in classes.values():
        wanted = max(1, round(config.fraction * sum(map(len, members))))
        for group in members[: -min(leave, max(1, len(members) - 1))]:
            if wanted <= 0:
                break
            wanted -= len(group)
            for row in group:
                row.split = split
