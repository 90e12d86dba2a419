"""The search for near-duplicates: candidates are compared in chunks, so that an interrupted search can continue."""

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
from threadpoolctl import threadpool_limits

from data_tools.duplicates.alignment import BATCH, MIRROR, Affine, Aligner, Match, after, corner_shift, inverse
from data_tools.duplicates.candidates import WARPS, Candidates, Pairs, warp_map
from data_tools.duplicates.levels import AUGMENTED, MIRRORED, NEAR, SEARCHED, includes
from data_tools.duplicates.settings import SearchConfig
from data_tools.duplicates.thumbnails import Floats
from data_tools.reading.ordered import CHUNK_BYTES, cores, ordered_map
from foundation.files import atomic_path

SEARCH_VERSION = 6  # raise it when the same images and settings would give other pairs
_CHUNK = 16384  # pairs, some seconds of work: an interruption loses no more

# pairs, and for each a number that chooses the starting map
Confirm = Callable[[Pairs, Floats], list[Match | None]]
Report = Callable[[str, int, int], object]  # the step, amount done, total


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A confirmed pair of images, `first` < `second`, and the lowest level at which they are duplicates."""

    first: int
    second: int
    level: str
    detail: float  # correlation of the fine structure, at most 1
    affine: Affine  # maps coordinates of the first to those of the second; it may mirror


def find_near_duplicates(
    images: NDArray[np.uint8],
    usable: NDArray[np.bool_],
    level: str,
    aligner: Aligner,
    workers: int | None = None,
    cache: Path | None = None,
    report: Report = lambda what, done, total: None,
) -> list[NearDuplicate]:
    """Confirmed pairs up to `level`, sorted, among those of `images`, uint8 (n, 48, 48), that are `usable`.

    `aligner` holds the same images. The result depends on the images and their order, not on the number of threads
    `workers` (None: one per core). The folder `cache` keeps finished chunks, from which an equal search continues after
    an interruption, and replaces them by the result at the end. A search of a single chunk is not cached.
    """
    places = np.flatnonzero(usable).astype(np.int32)
    if len(places) < 2:
        return []
    workers = workers or cores()
    work = _Work(images, usable, aligner.config, workers, cache, report)
    rows = work.finished(level)
    if rows is None:
        with _threads(workers):
            rows = _search(images, places, level, aligner, work, report)
        work.finish(level, rows)
    return _near_duplicates(rows, level, aligner.config)


def _search(
    images: NDArray[np.uint8], places: NDArray[np.int32], level: str, aligner: Aligner, work: _Work, report: Report
) -> NDArray[np.float64]:
    """The confirmed pairs among the images numbered `places`, in the form of `_Work.do`."""
    report("looking for candidates", 0, 0)
    candidates = Candidates(np.ascontiguousarray(images[places]), work.workers)
    pairs, alike = candidates.nearest(aligner.config.neighbours, includes(level, MIRRORED))
    pairs[:, :2] = places[pairs[:, :2]]
    rows = work.do("comparing candidates", aligner.confirm, pairs, alike)
    if level != AUGMENTED:
        return rows
    # Images without a duplicate so far may be warped further than the first search covers.
    single = np.setdiff1d(places, rows[:, :2].astype(np.int32))
    pairs, warps = candidates.warped(np.searchsorted(places, single), partial(report, "looking for warped candidates"))
    pairs[:, :2] = places[pairs[:, :2]]

    maps = [warp_map(number) for number in range(len(WARPS))]
    # A query that was mirrored first is not: its candidate is instead, and the map between them with it.
    starts = np.stack([maps, [after(MIRROR, after(map_, MIRROR)) for map_ in maps]])

    def confirm(pairs: Pairs, warps: Floats) -> list[Match | None]:
        return aligner.confirm_warped(pairs, starts[pairs[:, 2], warps.astype(np.intp)])

    return np.concatenate([rows, work.do("comparing warped candidates", confirm, pairs, warps)])


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """FAISS uses `workers` threads; OpenCV and BLAS use one, because pairs are compared in threads of our own."""
    before = cv2.getNumThreads(), faiss.omp_get_max_threads()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(workers)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        cv2.setNumThreads(before[0])
        faiss.omp_set_num_threads(before[1])


class _Work:
    """Compares pairs in chunks; keeps each chunk in the cache, and at the end all confirmed pairs."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        usable: NDArray[np.bool_],
        config: SearchConfig,
        workers: int,
        cache: Path | None,
        report: Report,
    ) -> None:
        self.workers, self._cache, self._report = workers, cache, report
        settings = asdict(config)
        for name in ("near_shift", "strangers"):  # do not decide whether a pair is confirmed
            del settings[name]
        versions = [SEARCH_VERSION, cv2.__version__, faiss.__version__, _CHUNK]
        self._digest = hashlib.sha256(json.dumps([*versions, settings]).encode())
        self._digest.update(np.ascontiguousarray(images).data)
        self._digest.update(np.ascontiguousarray(usable).data)
        self._folders: list[Path] = []  # of chunks, one for each kind of comparison

    def finished(self, level: str) -> NDArray[np.float64] | None:
        """The result of an earlier equal search, or None if none has finished."""
        return None if self._cache is None else _read(self._result_path(level))

    def finish(self, level: str, rows: NDArray[np.float64]) -> None:
        """Replace the cached chunks by the result."""
        if not self._folders:
            return
        _write(self._result_path(level), rows)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be removing it or writing to it

    def _result_path(self, level: str) -> Path:
        assert self._cache is not None
        digest = self._digest.copy()
        digest.update(level.encode())
        return self._cache / f"{digest.hexdigest()[:16]}.npy"

    def do(self, what: str, confirm: Confirm, pairs: Pairs, hints: Floats) -> NDArray[np.float64]:
        """Confirmed pairs, see `confirmed_rows`.

        `hints` has the last argument of `confirm` for each pair.
        """
        folder = self._folder(what, pairs)
        found = [np.zeros((0, 10))]
        for at in range(0, len(pairs), _CHUNK):
            self._report(what, at, len(pairs))
            kept = None if folder is None else folder / f"{at // _CHUNK:06}.npy"
            done = None if kept is None else _read(kept)
            if done is None:
                chunk = slice(at, at + _CHUNK)
                done = _confirm(confirm, pairs[chunk], hints[chunk], self.workers)
                if kept is not None:
                    _write(kept, done)
            found.append(done)
        self._report(what, len(pairs), len(pairs))
        return np.concatenate(found)

    def _folder(self, what: str, pairs: Pairs) -> Path | None:
        if self._cache is None or len(pairs) <= _CHUNK:
            return None
        digest = self._digest.copy()
        digest.update(what.encode() + np.ascontiguousarray(pairs).tobytes())
        self._folders.append(self._cache / digest.hexdigest()[:16])
        return self._folders[-1]


def _confirm(confirm: Confirm, pairs: Pairs, hints: Floats, workers: int) -> NDArray[np.float64]:
    def batch(at: int) -> NDArray[np.float64]:
        some = pairs[at : at + BATCH]
        return confirmed_rows(some, confirm(some, hints[at : at + BATCH]))

    return np.concatenate(list(ordered_map(batch, range(0, len(pairs), BATCH), workers, lambda at: CHUNK_BYTES)))


def confirmed_rows(pairs: Pairs, matches: list[Match | None]) -> NDArray[np.float64]:
    """The confirmed ones of the pairs, (m, 10): first, second, mirrored, detail and the six numbers of the map."""
    rows = [
        [*pair, match.detail, *match.affine.ravel()]
        for pair, match in zip(pairs.tolist(), matches, strict=True)
        if match is not None
    ]
    return np.array(rows, np.float64).reshape(-1, 10)


def _near_duplicates(rows: NDArray[np.float64], level: str, config: SearchConfig) -> list[NearDuplicate]:
    found = []
    for row in rows:
        affine = row[4:].reshape(2, 3)
        kind = AUGMENTED
        if corner_shift(affine) <= config.near_shift:
            kind = MIRRORED if row[2] else NEAR
        if includes(level, kind):
            first, second = int(row[0]), int(row[1])
            if first > second:
                first, second, affine = second, first, inverse(affine)
            found.append(NearDuplicate(first, second, kind, float(row[3]), affine))
    return sorted(found, key=lambda pair: (pair.first, pair.second, SEARCHED.index(pair.level)))


def _read(path: Path) -> NDArray[np.float64] | None:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # missing or damaged: it is computed again
    return rows if rows.dtype == np.float64 and rows.ndim == 2 and rows.shape[1] == 10 else None


def _write(path: Path, rows: NDArray[np.float64]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, rows, allow_pickle=False)
