"""Give every row of the manifest its group, at every level up to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_tools.duplicates.alignment import Aligner
from data_tools.duplicates.grouping import Groups, loose
from data_tools.duplicates.levels import BYTES, LEVELS, NONE, PIXELS, SEARCHED, includes
from data_tools.duplicates.perceptual_hash import perceptual_hashes
from data_tools.duplicates.pictures import grey, is_blank
from data_tools.duplicates.search import Report, Twin, find_twins
from data_tools.duplicates.settings import TwinConfig
from data_tools.manifest import Row

_KEYS: dict[str, Callable[[Row], str]] = {
    NONE: lambda row: row.id,
    BYTES: lambda row: row.bytes_sha256,
    PIXELS: lambda row: row.pixels_sha256,
}


@dataclass
class Grouping:
    """The groups of all rows. A group is named by the smallest id among its members."""

    groups: dict[str, dict[str, str]] = field(default_factory=dict)  # level -> row id -> group
    loose: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # level -> ids of pairs across two groups
    twins: list[tuple[str, str, str, float]] = field(default_factory=list)  # id, id, level, detail: what was confirmed
    labels: dict[str, str] = field(default_factory=dict)  # row id -> class as the source gave it
    blank: set[str] = field(default_factory=set)  # ids of rows without anything to be seen


def find_groups(
    rows: Sequence[Row],
    images: Mapping[str, np.ndarray],
    level: str,
    config: TwinConfig,
    workers: int | None = None,
    cache: Path | None = None,
    report: Report = lambda what, done, total: None,
) -> Grouping:
    """Groups of the rows at every level up to `level`; sets `perceptual_hash` of each.

    `images` holds uint8 (h, w, c) under every row's id. What is blank is compared by its pixels alone.
    """
    rows = sorted(rows, key=lambda row: row.id)
    found = Grouping(labels={row.id: row.label for row in rows})
    for name, key in _KEYS.items():
        if includes(level, name):
            found.groups[name] = _named(rows, [key(row) for row in rows])
    firsts: dict[str, Row] = {}
    for row in rows:
        firsts.setdefault(row.pixels_sha256, row)
    order = sorted(firsts)  # by content: names and the order of the sources have no part in it
    number_of = {pixels: number for number, pixels in enumerate(order)}
    pictures = grey([images[firsts[pixels].id] for pixels in order])
    hashes = [bytes(bits).hex() for bits in perceptual_hashes(pictures)]
    blank = is_blank(pictures, config.blank_below)
    for row in rows:
        row.perceptual_hash = hashes[number_of[row.pixels_sha256]]
        if blank[number_of[row.pixels_sha256]]:
            found.blank.add(row.id)
    if level not in SEARCHED:
        return found
    aligner = Aligner(pictures, config)
    twins = find_twins(pictures, ~blank, level, aligner, workers, cache, report)
    ids = [firsts[pixels].id for pixels in order]
    found.twins = [(ids[twin.first], ids[twin.second], twin.level, twin.detail) for twin in twins]
    groups = Groups(len(pictures))
    for name in SEARCHED:
        if not includes(level, name):
            break
        report(f"joining groups: {name}", 0, 0)
        pairs = [twin for twin in twins if includes(name, twin.level)]
        groups.join(pairs, aligner)
        found.groups[name] = _named(rows, [str(groups.representative[number_of[row.pixels_sha256]]) for row in rows])
        found.loose[name] = _ids(loose(pairs, groups.representative), ids)
    return found


def _named(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, str]:
    """Row id -> the first id, rows being sorted, among those with the same key."""
    first: dict[str, str] = {}
    for row, key in zip(rows, keys, strict=True):
        first.setdefault(key, row.id)
    return {row.id: first[key] for row, key in zip(rows, keys, strict=True)}


def _ids(twins: Sequence[Twin], ids: Sequence[str]) -> list[tuple[str, str]]:
    return [(ids[twin.first], ids[twin.second]) for twin in twins]


assert tuple(_KEYS) + SEARCHED == LEVELS
