"""The groups of duplicates among the rows of the manifest, at every level up to one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_tools.duplicates.levels import BYTES, LEVELS, MIRRORED, NONE, PIXELS, SEARCHED, includes
from data_tools.duplicates.perceptual_hash import perceptual_hashes
from data_tools.duplicates.settings import SearchConfig
from data_tools.duplicates.strangers import FEWEST, Strangers, measure
from data_tools.duplicates.thumbnails import grey, is_blank
from data_tools.reading.manifest import Row
from data_tools.reading.ordered import cores

if TYPE_CHECKING:
    from data_tools.duplicates.alignment import Aligner
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
    strangers: Strangers | None = None  # how far different images agree; None if it was not measured
    note: str = ""  # one line, if the images are searched less far than they were to be, or some of them

    def level(self, wanted: str) -> str:
        """`wanted`, or the highest level below it at which duplicates can be found safely among these images."""
        return max((level for level in self.groups if includes(wanted, level)), key=LEVELS.index)


def find_groups(
    rows: Sequence[Row],
    images: Mapping[str, np.ndarray],
    level: str,
    config: SearchConfig,
    workers: int | None = None,
    cache: Path | None = None,
    report: Report = lambda what, done, total: None,
    colours: Mapping[str, np.ndarray] | None = None,
) -> Grouping:
    """Groups of the rows at every level up to `level`. Sets `perceptual_hash` of each row.

    `images` maps each row's id to its image, uint8 of any size, or to its thumbnail; `colours` to an image that is as
    colourful as that of the pack. Blank images are compared by their pixels alone. If different images cannot be told
    apart by their fine structure, only mirrored copies and ones that are encoded again are found, see `find_copies`,
    and there are no groups above `mirrored`; with fewer than `FEWEST` images none above `pixels`.
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
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # else it says at each start what it loads
    from data_tools.duplicates.alignment import Aligner  # noqa: PLC0415
    from data_tools.duplicates.copies import find_copies, joined, small_colours  # noqa: PLC0415
    from data_tools.duplicates.grouping import Groups, loose  # noqa: PLC0415
    from data_tools.duplicates.search import find_near_duplicates  # noqa: PLC0415

    aligner = Aligner(thumbnails, config)
    ids = [firsts[pixels].id for pixels in order]
    groups: Groups | None = None
    if _safe(found, thumbnails, ~blank, aligner, workers or cores()):
        groups = Groups(len(thumbnails))
        confirmed = find_near_duplicates(thumbnails, ~blank, level, aligner, workers, cache, report)
    elif found.strangers is not None:
        report("looking for copies", 0, 0)
        level = MIRRORED if includes(level, MIRRORED) else level
        small = small_colours([(colours or images)[name] for name in ids])
        copies = find_copies(thumbnails, ~blank, _kinds(rows, order), small, includes(level, MIRRORED))
        confirmed = copies.pairs
        found.note += copies.note
    else:
        return found
    found.confirmed = [(ids[pair.first], ids[pair.second], pair.level, pair.detail) for pair in confirmed]
    for name in SEARCHED:
        if not includes(level, name):
            break
        report(f"joining groups: {name}", 0, 0)
        pairs = [pair for pair in confirmed if includes(name, pair.level)]
        group_of = joined(len(thumbnails), pairs) if groups is None else groups.join(pairs, aligner)
        found.groups[name] = _named(rows, [str(group_of[number_of[row.pixels_sha256]]) for row in rows])
        found.loose[name] = _ids(loose(pairs, group_of), ids)
    return found


def _kinds(rows: Sequence[Row], order: Sequence[str]) -> list[tuple[object, ...]]:
    """Of every different image, in `order` of their pixels, what its copies have too: its size and its labels."""
    labels: dict[str, set[str]] = {}
    sizes: dict[str, tuple[int | None, int | None]] = {}
    for row in rows:
        labels.setdefault(row.pixels_sha256, set()).add(row.label)
        sizes[row.pixels_sha256] = row.width, row.height
    return [(sizes[pixels], *sorted(labels[pixels])) for pixels in order]


def _safe(
    found: Grouping, thumbnails: NDArray[np.uint8], usable: NDArray[np.bool_], aligner: Aligner, workers: int
) -> bool:
    """Whether different images can be told apart; sets `strangers` and `note`."""
    config, places = aligner.config, np.flatnonzero(usable)
    if config.strangers >= 1:
        return True
    if len(places) < FEWEST:
        found.note = (
            f"duplicates: only equal images are found, because {len(places)} different ones are too few to measure "
            "whether copies can be told from other images; merge.twins.strangers=1 searches nevertheless"
        )
        return False
    found.strangers = seen = measure(places, thumbnails, aligner, workers)
    if seen.agreement > config.strangers:
        found.note = (
            f"duplicates: only images that are equal, encoded again or mirrored are found, because different images "
            f"resemble each other here: their fine structure agrees to {seen.agreement:.2f} of 1, and above "
            f"{config.strangers:.2f} a search for rotated, zoomed and shifted copies would take different images for "
            "copies; merge.twins.strangers=1 searches nevertheless"
        )
        return False
    if seen.plain > 0.01:
        found.note = (
            f"duplicates: about {seen.plain:.0%} of the images have little fine structure; of these hardly any copies "
            "but unwarped and mirrored ones are found"
        )
    return True


def _named(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, str]:
    """Row id -> the first id among the rows with the same key; the rows are sorted."""
    first: dict[str, str] = {}
    for row, key in zip(rows, keys, strict=True):
        first.setdefault(key, row.id)
    return {row.id: first[key] for row, key in zip(rows, keys, strict=True)}


def _ids(pairs: Sequence[NearDuplicate], ids: Sequence[str]) -> list[tuple[str, str]]:
    return [(ids[pair.first], ids[pair.second]) for pair in pairs]


assert tuple(_KEYS) + SEARCHED == LEVELS
