"""The search for twins: candidates, each confirmed or not, piece by piece, so that it can be taken up again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray

from data_tools.duplicates.alignment import Affine, Aligner, Match, corner_shift, inverse
from data_tools.duplicates.candidates import Candidates, Pairs, warp_map
from data_tools.duplicates.levels import AUGMENTED, MIRRORED, NEAR, SEARCHED, includes
from data_tools.duplicates.pictures import Floats
from data_tools.duplicates.settings import TwinConfig
from data_tools.ordered import cores, ordered_map
from foundation.files import atomic_path

SEARCH_VERSION = 2  # raise it when the same pictures and settings would give other pairs
_PIECE = 8192  # pairs: half a minute of work, which is what an interruption costs

# first, second, whether mirrored, and a number that tells where to begin
Confirm = Callable[[int, int, bool, float], Match | None]
Report = Callable[[str, int, int], object]  # what is being done, how much of it is done, of how much


@dataclass(frozen=True, slots=True)
class Twin:
    """A confirmed pair of pictures, `first` < `second`, and the lowest level that calls them one photograph."""

    first: int
    second: int
    level: str
    detail: float  # agreement of the fine structure, at most 1
    affine: Affine  # maps a place of the first to that of the second, mirroring included


def find_twins(
    pictures: NDArray[np.uint8],
    usable: NDArray[np.bool_],
    level: str,
    aligner: Aligner,
    workers: int | None = None,
    cache: Path | None = None,
    report: Report = lambda what, done, total: None,
) -> list[Twin]:
    """Confirmed pairs, up to `level`, among those of uint8 (n, 48, 48) that are `usable`; sorted.

    `aligner` holds the same pictures. The result depends on the pictures and their order, not on the number of
    `workers` (None: one a core). Finished pieces are kept in the folder `cache` for another search for the same to go
    on from, and at the end the result in their place; a search of one piece is not worth it.
    """
    places = np.flatnonzero(usable).astype(np.int32)
    if len(places) < 2:
        return []
    workers = workers or cores()
    work = _Work(pictures, usable, aligner.config, workers, cache, report)
    rows = work.finished(level)
    if rows is None:
        with _threads(workers):
            rows = _search(pictures, places, level, aligner, work, report)
        work.finish(level, rows)
    return _twins(rows, level, aligner.config)


def _search(
    pictures: NDArray[np.uint8], places: NDArray[np.int32], level: str, aligner: Aligner, work: _Work, report: Report
) -> NDArray[np.float64]:
    """The confirmed pairs among the pictures at `places`, as `_Work.do` gives them."""
    report("looking for candidates", 0, 0)
    candidates = Candidates(np.ascontiguousarray(pictures[places]), work.workers)
    pairs, alike = candidates.nearest(aligner.config.neighbours, includes(level, MIRRORED))
    pairs[:, :2] = places[pairs[:, :2]]
    rows = work.do("comparing candidates", aligner.confirm, pairs, alike)
    if level != AUGMENTED:
        return rows
    # What has no twin so far may be warped further than the first search looks.
    lonely = np.setdiff1d(places, rows[:, :2].astype(np.int32))
    pairs, warps = candidates.warped(np.searchsorted(places, lonely), partial(report, "looking for warped candidates"))
    pairs[:, :2] = places[pairs[:, :2]]

    def confirm(first: int, second: int, mirrored: bool, warp: float) -> Match | None:
        return aligner.confirm_warped(first, second, mirrored, warp_map(int(warp)))

    return np.concatenate([rows, work.do("comparing warped candidates", confirm, pairs, warps)])


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """As many of FAISS's threads; one of OpenCV's, since pairs are compared in threads of our own."""
    before = cv2.getNumThreads(), faiss.omp_get_max_threads()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(workers)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        faiss.omp_set_num_threads(before[1])


class _Work:
    """Pairs compared piece by piece, each piece kept in the cache, and at the end all that were confirmed."""

    def __init__(
        self,
        pictures: NDArray[np.uint8],
        usable: NDArray[np.bool_],
        config: TwinConfig,
        workers: int,
        cache: Path | None,
        report: Report,
    ) -> None:
        self.workers, self._cache, self._report = workers, cache, report
        settings = asdict(config)
        del settings["near_shift"]  # names the level of what is found, and changes nothing of it
        versions = [SEARCH_VERSION, cv2.__version__, faiss.__version__, _PIECE]
        self._digest = hashlib.sha256(json.dumps([*versions, settings]).encode())
        self._digest.update(np.ascontiguousarray(pictures).data)
        self._digest.update(np.ascontiguousarray(usable).data)
        self._folders: list[Path] = []  # of pieces, one for each kind of comparison

    def finished(self, level: str) -> NDArray[np.float64] | None:
        """What an earlier search for the same has confirmed, if it came to its end."""
        return None if self._cache is None else _read(self._whole(level))

    def finish(self, level: str, rows: NDArray[np.float64]) -> None:
        """Keep the result of a search that was worth keeping pieces of, in their place."""
        if not self._folders:
            return
        _write(self._whole(level), rows)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be removing it, or be at work in it

    def _whole(self, level: str) -> Path:
        assert self._cache is not None
        digest = self._digest.copy()
        digest.update(level.encode())
        return self._cache / f"{digest.hexdigest()[:16]}.npy"

    def do(self, what: str, confirm: Confirm, pairs: Pairs, about: Floats) -> NDArray[np.float64]:
        """(m, 10): first, second, mirrored, detail and the six numbers of the map, for the pairs that are confirmed."""
        folder = self._folder(what, pairs)
        found = [np.zeros((0, 10))]
        for at in range(0, len(pairs), _PIECE):
            self._report(what, at, len(pairs))
            kept = None if folder is None else folder / f"{at // _PIECE:06}.npy"
            done = None if kept is None else _read(kept)
            if done is None:
                piece = slice(at, at + _PIECE)
                done = _confirm(confirm, pairs[piece], about[piece], self.workers)
                if kept is not None:
                    _write(kept, done)
            found.append(done)
        self._report(what, len(pairs), len(pairs))
        return np.concatenate(found)

    def _folder(self, what: str, pairs: Pairs) -> Path | None:
        if self._cache is None or len(pairs) <= _PIECE:
            return None
        digest = self._digest.copy()
        digest.update(what.encode() + np.ascontiguousarray(pairs).tobytes())
        self._folders.append(self._cache / digest.hexdigest()[:16])
        return self._folders[-1]


def _confirm(confirm: Confirm, pairs: Pairs, about: Floats, workers: int) -> NDArray[np.float64]:
    def one(number: int) -> list[float] | None:
        first, second, mirrored = (int(value) for value in pairs[number])
        match = confirm(first, second, bool(mirrored), float(about[number]))
        return None if match is None else [first, second, mirrored, match.detail, *match.affine.ravel()]

    found = ordered_map(one, range(len(pairs)), workers, lambda number: 0)
    rows = [row for row in found if row is not None]
    return np.array(rows, np.float64).reshape(-1, 10)


def _twins(rows: NDArray[np.float64], level: str, config: TwinConfig) -> list[Twin]:
    twins = []
    for row in rows:
        affine = row[4:].reshape(2, 3)
        kind = AUGMENTED
        if corner_shift(affine) <= config.near_shift:
            kind = MIRRORED if row[2] else NEAR
        if includes(level, kind):
            first, second = int(row[0]), int(row[1])
            if first > second:
                first, second, affine = second, first, inverse(affine)
            twins.append(Twin(first, second, kind, float(row[3]), affine))
    return sorted(twins, key=lambda twin: (twin.first, twin.second, SEARCHED.index(twin.level)))


def _read(path: Path) -> NDArray[np.float64] | None:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # missing or damaged: it is found anew
    return rows if rows.dtype == np.float64 and rows.ndim == 2 and rows.shape[1] == 10 else None


def _write(path: Path, rows: NDArray[np.float64]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, rows, allow_pickle=False)
