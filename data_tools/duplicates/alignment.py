"""Confirming a pair: find the affine map of one image onto the other, then compare their fine structure.

Any two faces of one size share their coarse structure, eyes above mouth: after the best affine map their correlation
is often above 0.9. Wrinkles, strands of hair and grain agree only in copies of one photograph. So the map is found by
enhanced correlation of the images (Evangelidis and Psarakis 2008), at half the size for many pairs at once, then by
OpenCV for those that may be copies. The pair is judged by the correlation of a band of high spatial frequencies, here
called detail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from data_tools.duplicates import coarse
from data_tools.duplicates.coarse import HALF, SCALE, Affines
from data_tools.duplicates.settings import SearchConfig
from data_tools.duplicates.thumbnails import SIDE, Floats, standardised

# Maps coordinates (x, y) of the first image to those of the same point in the second; it may mirror.
Affine = NDArray[np.float64]

Pairs = NDArray[np.integer]  # (n, 3): numbers of the first and second image, and 1 if the second is to be mirrored

BATCH = 1024  # pairs that are compared at once: threads would wait for each other between shorter operations
_FINE = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
# Starting maps at half the size: the identity, and rotations by 14 degrees either way.
_STARTS: tuple[Affine, ...] = tuple(
    np.asarray(cv2.getRotationMatrix2D(((HALF - 1) / 2, (HALF - 1) / 2), degrees, 1.0), np.float64)
    for degrees in (0, -14, 14)
)
_TURNED_FROM = 0.65  # similarity of the embeddings from which all starting maps are tried
_BACK = (0.5, 0.85)  # detail between which the search is repeated in the other direction
_GATE = 0.70  # detail at half the size from which a pair is compared in full size
_STRAIGHT = 0.85  # correlation without a warp from which the full-size search starts at the identity
_OVERLAP = 300  # pixels that both images must show, of 2,304
# Of a pair with less structure than `config.cells`: the least detail after a warp, if it has this fraction of them ...
_FEW_DETAIL, _FEW = 0.92, 2 / 3
_PLAIN, _PLAIN_DETAIL = 0.98, 0.90  # ... and else the least correlation and detail without a warp
MIRROR = np.array([[-1.0, 0.0, SIDE - 1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class Match:
    """The result of a confirmed comparison: the correlation of the detail, and the map."""

    detail: float
    affine: Affine


class Aligner:
    """Compares pairs of `images`, uint8 (n, 48, 48). Threads may share one aligner."""

    def __init__(self, images: NDArray[np.uint8], config: SearchConfig) -> None:
        self.config = config
        self._images = images
        self._cells: dict[int, float] = {}
        self._half = np.empty((len(images), HALF, HALF), np.float32)  # smoothed
        self._half_band = np.empty_like(self._half)
        for place in range(len(images)):
            half = cast(Floats, cv2.resize(self._full(place), (HALF, HALF), interpolation=cv2.INTER_AREA))
            self._half[place] = coarse.smoothed(half)
            self._half_band[place] = _band(half, 0.5, 2.0)

    def _full(self, image: int) -> Floats:
        """The standardised image; all of them would take four times the memory of the images."""
        return standardised(self._images[image : image + 1])[0]

    def _straight(self, pairs: Pairs) -> Floats:
        """Correlations (n,) of the images of `pairs` without a warp."""
        out = np.empty(len(pairs), np.float32)
        for some in _batches(len(pairs)):
            one, other = (standardised(images) for images in self._of(self._images, pairs[some]))
            out[some] = np.einsum("nyx,nyx->n", one, other) / SIDE**2
        return out

    def plain(self, image: int) -> bool:
        """Whether an image has little fine structure to recognise its warped copies by, as a sky."""
        return self.cells(image) < self.config.cells

    def cells(self, image: int) -> float:
        """How many independent cells the fine structure fills; 0 if it is below `config.fine` grey levels.

        They are the pixels that the detail covers times the fraction of the frequencies that it has, both by their
        participation ratio, (sum of e)^2 / sum of e^2. The grey levels are its root mean square.
        """
        if image not in self._cells:
            detail = _band(self._images[image].astype(np.float32), 0.5, 2.0)
            energy = detail * detail
            fine = energy.mean() >= max(self.config.fine, 1e-3) ** 2
            covered = _participation(cv2.GaussianBlur(energy, (0, 0), 3)) if fine else 0.0
            self._cells[image] = covered * _participation(np.abs(np.fft.fft2(detail)) ** 2) / SIDE**2 if fine else 0.0
        return self._cells[image]

    def _supported(self, match: Match | None, first: int, second: int) -> Match | None:
        """The match, if the images have enough fine structure for it to mean something."""
        if match is None:
            return None
        fewest = min(self.cells(first), self.cells(second))
        if fewest >= self.config.cells or (fewest >= _FEW * self.config.cells and match.detail >= _FEW_DETAIL):
            return match
        return None

    def agreements(self, pairs: Pairs) -> list[float]:
        """Correlations of the detail after the best warp near the identity, at least 0: of any pairs, alike or not."""
        guesses, detail = self._coarse(pairs, np.repeat(_STARTS[0][None], len(pairs), axis=0), hopeless=-1)
        return [
            self._agreement_from(int(first), int(second), guess) if good > -1 else 0.0
            for (first, second, _), guess, good in zip(pairs, guesses, detail, strict=True)
        ]

    def _agreement_from(self, first: int, second: int, guess: Affine) -> float:
        one, other = self._full(first), self._full(second)
        warp = _search(one, other, guess, _FINE)
        if warp is None:
            return 0.0
        return max(0.0, _agreement(_band(one, 0.5, 2.0), _band(other, 0.5, 2.0), warp, _OVERLAP))

    def confirm(self, pairs: Pairs, alike: Floats) -> list[Match | None]:
        """Of each pair the map of the first image onto the second if both show one photograph, else None.

        `alike` (n,) are the similarities of their embeddings: where `config.alike` is reached, less agreement of the
        detail is enough.
        """
        straight = self._straight(pairs)
        guesses: list[Affine | None] = [np.eye(2, 3) if far else None for far in straight >= _STRAIGHT]
        left = straight < _STRAIGHT
        for number, start in enumerate(_STARTS):
            tried = np.flatnonzero(left if number == 0 else left & (alike >= _TURNED_FROM))
            maps, detail = self._coarse(pairs[tried], np.repeat(start[None], len(tried), axis=0))
            for place, found, good in zip(tried, maps, detail >= _GATE, strict=True):
                if good:
                    guesses[place], left[place] = found, False
        matches: list[Match | None] = []
        each = zip(pairs.tolist(), alike, straight, guesses, strict=True)
        for (first, second, mirrored), similar, own, guess in each:
            least = self.config.detail if similar < self.config.alike else self.config.alike_detail
            match = None if guess is None else self._fine(first, second, mirrored, guess, least)
            if match is None and own >= self.config.correlation:
                match = Match(float(own), np.eye(2, 3))
            if match is not None:
                match = self._supported(match, first, second) or self._unwarped(first, second, mirrored, own)
            matches.append(_as_stored(match, mirrored))
        return matches

    def confirm_warped(self, pairs: Pairs, starts: Affines) -> list[Match | None]:
        """As `confirm`, starting from the maps `starts` of the first onto the second images, these mirrored if so."""
        maps, detail = self._coarse(pairs, _halved(starts))
        matches: list[Match | None] = [None] * len(pairs)
        for place in np.flatnonzero(detail >= _GATE):
            first, second, mirrored = (int(value) for value in pairs[place])
            match = self._fine(first, second, bool(mirrored), maps[place], self.config.detail)
            matches[place] = _as_stored(self._supported(match, first, second), bool(mirrored))
        return matches

    def confirm_from(self, first: int, second: int, guess: Affine) -> Match | None:
        """As `confirm`, starting from a map that other pairs imply, with the threshold `config.chain`."""
        mirrored = np.linalg.det(guess[:, :2]) < 0
        match = self._fine(first, second, mirrored, after(MIRROR, guess) if mirrored else guess, self.config.chain)
        return _as_stored(match, bool(mirrored))

    def _unwarped(self, first: int, second: int, mirrored: bool, straight: float) -> Match | None:
        """The comparison of images with little fine structure: they must agree without a warp."""
        other = np.ascontiguousarray(self._full(second)[:, ::-1]) if mirrored else self._full(second)
        detail = _agreement(_band(self._full(first), 0.5, 2.0), _band(other, 0.5, 2.0), np.eye(2, 3), _OVERLAP)
        return Match(detail, np.eye(2, 3)) if straight >= _PLAIN and detail >= _PLAIN_DETAIL else None

    def _coarse(
        self, pairs: Pairs, starts: Affines, hopeless: float = coarse.HOPELESS
    ) -> tuple[Affines, NDArray[np.float64]]:
        """Maps (n, 2, 3) found at half the size from `starts`, and how far the detail agrees there; -1: no map."""
        maps, detail = np.empty((len(pairs), 2, 3)), np.full(len(pairs), -1.0)
        for some in _batches(len(pairs)):
            maps[some], found = coarse.align(*self._of(self._half, pairs[some]), starts[some], hopeless)
            bands = self._of(self._half_band, pairs[some][found])
            detail[some][found] = coarse.agreement(*bands, maps[some][found])
        return _doubled(maps), detail

    @staticmethod
    def _of(images: NDArray[Any], pairs: Pairs) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of the pairs the first images, and the second ones, mirrored where the pair says so."""
        second, mirrored = images[pairs[:, 1]], pairs[:, 2] != 0
        second[mirrored] = second[mirrored][:, :, ::-1]
        return images[pairs[:, 0]], second

    def _fine(self, first: int, second: int, mirrored: bool, guess: Affine, threshold: float) -> Match | None:
        target, moving = self._full(first), self._full(second)
        if mirrored:
            moving = np.ascontiguousarray(moving[:, ::-1])
        warp = _search(target, moving, guess, _FINE)
        if warp is None:
            return None
        target_detail, moving_detail = _band(target, 0.5, 2.0), _band(moving, 0.5, 2.0)
        detail = _agreement(target_detail, moving_detail, warp, _OVERLAP)
        if _BACK[0] <= detail < _BACK[1]:
            # A copy is more blurred than its original, and warping blurs too: try the map in the other direction.
            back = _search(moving, target, inverse(warp), _FINE)
            if back is not None:
                backwards = _agreement(moving_detail, target_detail, back, _OVERLAP)
                if backwards > detail:
                    detail, warp = backwards, inverse(back)
        return Match(detail, warp) if detail >= threshold else None


def corner_shift(affine: Affine) -> float:
    """Greatest distance in pixels by which a map moves a corner, apart from mirroring."""
    unmirrored = after(MIRROR, affine) if np.linalg.det(affine[:, :2]) < 0 else affine
    end = SIDE - 1.0
    corners = np.array([[0.0, 0.0, 1.0], [end, 0.0, 1.0], [0.0, end, 1.0], [end, end, 1.0]])
    return float(np.hypot(*(corners @ unmirrored.T - corners[:, :2]).T).max())


def after(outer: Affine, inner: Affine) -> Affine:
    """The composition: first `inner`, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def inverse(affine: Affine) -> Affine:
    """The inverse map."""
    matrix = np.linalg.inv(affine[:, :2])
    return np.column_stack([matrix, -matrix @ affine[:, 2]])


def _search(target: Floats, moving: Floats, guess: Affine, criteria: tuple[int, int, float]) -> Affine | None:
    """The affine map from `target` to `moving` with the highest correlation near `guess`; None if there is none."""
    try:
        start = guess.astype(np.float32)
        _, warp = cv2.findTransformECC(  # type: ignore[call-overload]  # its stub does not allow None as mask
            target, moving, start, cv2.MOTION_AFFINE, criteria, None, 3
        )
    except cv2.error:  # no convergence, or the images no longer overlap
        return None
    area = float(warp[0, 0] * warp[1, 1] - warp[0, 1] * warp[1, 0])
    return warp.astype(np.float64) if SCALE[0] <= area <= SCALE[1] else None


def _agreement(target: Floats, moving: Floats, warp: Affine, least: int) -> float:
    """Correlation of `target` and the warped `moving` where they overlap; -1 if that is less than `least` pixels."""
    size, flags = target.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(moving, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.warpAffine(np.ones_like(target), warp, size, flags=flags) > 0.99
    if np.count_nonzero(shown) < least:
        return -1.0
    a, b = target[shown], warped[shown]
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-12))


def _band(image: Floats, fine: float, coarse: float) -> Floats:
    """Difference of two Gaussian blurs with standard deviations `fine` and `coarse` in pixels."""
    return cv2.GaussianBlur(image, (0, 0), fine) - cv2.GaussianBlur(image, (0, 0), coarse)


def _participation(energy: NDArray[Any]) -> float:
    """How many of the elements hold the energy: their number if it is spread evenly, 1 if one has all of it."""
    return float(energy.sum(dtype=np.float64) ** 2 / np.square(energy, dtype=np.float64).sum())


def _batches(number: int) -> Iterator[slice]:
    return (slice(at, at + BATCH) for at in range(0, number, BATCH))


def _as_stored(match: Match | None, mirrored: bool) -> Match | None:
    """The match with a map onto the second image as it is stored, not as it was compared."""
    return Match(match.detail, after(MIRROR, match.affine)) if match is not None and mirrored else match


def _doubled(maps: Affines) -> Affines:
    """Maps between images of half the size, converted to the full size; pixel centres differ by half a pixel."""
    moved = 2 * maps[:, :, 2] + 0.5 - maps[:, :, :2].sum(axis=2) / 2
    return np.concatenate([maps[:, :, :2], moved[:, :, None]], axis=2)


def _halved(maps: Affines) -> Affines:
    """The inverse of `_doubled`."""
    moved = (maps[:, :, 2] - 0.5 + maps[:, :, :2].sum(axis=2) / 2) / 2
    return np.concatenate([maps[:, :, :2], moved[:, :, None]], axis=2)
