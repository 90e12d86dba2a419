"""The groups of duplicates among the rows of the manifest, at every level up to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_tools.duplicates.levels import BYTES, LEVELS, NONE, PIXELS, SEARCHED, includes
from data_tools.duplicates.perceptual_hash import perceptual_hashes
from data_tools.duplicates.settings import SearchConfig
from data_tools.duplicates.thumbnails import grey, is_blank
from data_tools.reading.manifest import Row

if TYPE_CHECKING:
    from data_tools.duplicates.search import NearDuplicate, Report

_KEYS: dict[str, Callable[[Row], str]] = {
    NONE: lambda row: row.id,
    BYTES: lambda row: row.bytes_sha256,
    PIXELS: lambda row: row.pixels_sha256,
}


@dataclass
class Grouping:
    """The groups of all rows. The name of a group is the smallest id among its members."""

    groups: dict[str, dict[str, str]] = field(default_factory=dict)  # level -> row id -> group
    loose: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # level -> pairs of ids in two groups
    confirmed: list[tuple[str, str, str, float]] = field(default_factory=list)  # pairs: id, id, level, detail
    labels: dict[str, str] = field(default_factory=dict)  # row id -> class as the source gave it
    blank: set[str] = field(default_factory=set)  # ids of blank images


def find_groups(
    rows: Sequence[Row],
    images: Mapping[str, np.ndarray],
    level: str,
    config: SearchConfig,
    workers: int | None = None,
    cache: Path | None = None,
    report: Report = lambda what, done, total: None,
) -> Grouping:
    """Groups of the rows at every level up to `level`. Sets `perceptual_hash` of each row.

    `images` maps each row's id to its image, uint8 (h, w, c). Blank images are compared by their pixels alone.
    """
    rows = sorted(rows, key=lambda row: row.id)
    found = Grouping(labels={row.id: row.label for row in rows})
    for name, key in _KEYS.items():
        if includes(level, name):
            found.groups[name] = _named(rows, [key(row) for row in rows])
    firsts: dict[str, Row] = {}
    for row in rows:
        firsts.setdefault(row.pixels_sha256, row)
    order = sorted(firsts)  # by content, so that names and the order of the sources change nothing
    number_of = {pixels: number for number, pixels in enumerate(order)}
    thumbnails = grey([images[firsts[pixels].id] for pixels in order])
    hashes = [bytes(bits).hex() for bits in perceptual_hashes(thumbnails)]
    blank = is_blank(thumbnails, config.blank_below)
    for row in rows:
        row.perceptual_hash = hashes[number_of[row.pixels_sha256]]
        if blank[number_of[row.pixels_sha256]]:
            found.blank.add(row.id)
    if level not in SEARCHED:
        return found
    # OpenCV and FAISS are the extra `audit`: only the search needs them.
    from data_tools.duplicates.alignment import Aligner  # noqa: PLC0415
    from data_tools.duplicates.grouping import Groups, loose  # noqa: PLC0415
    from data_tools.duplicates.search import find_near_duplicates  # noqa: PLC0415

    aligner = Aligner(thumbnails, config)
    confirmed = find_near_duplicates(thumbnails, ~blank, level, aligner, workers, cache, report)
    ids = [firsts[pixels].id for pixels in order]
    found.confirmed = [(ids[pair.first], ids[pair.second], pair.level, pair.detail) for pair in confirmed]
    groups = Groups(len(thumbnails))
    for name in SEARCHED:
        if not includes(level, name):
            break
        report(f"joining groups: {name}", 0, 0)
        pairs = [pair for pair in confirmed if includes(name, pair.level)]
        groups.join(pairs, aligner)
        found.groups[name] = _named(rows, [str(groups.representative[number_of[row.pixels_sha256]]) for row in rows])
        found.loose[name] = _ids(loose(pairs, groups.representative), ids)
    return found


def _named(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, str]:
    """Row id -> the first id among the rows with the same key; the rows are sorted."""
    first: dict[str, str] = {}
    for row, key in zip(rows, keys, strict=True):
        first.setdefault(key, row.id)
    return {row.id: first[key] for row, key in zip(rows, keys, strict=True)}


def _ids(pairs: Sequence[NearDuplicate], ids: Sequence[str]) -> list[tuple[str, str]]:
    return [(ids[pair.first], ids[pair.second]) for pair in pairs]


assert tuple(_KEYS) + SEARCHED == LEVELS
