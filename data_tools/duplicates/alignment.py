"""Is one picture the other, warped? Lay one on the other as well as an affine map can, and compare the detail.

Two faces of one size agree in their coarse structure, eyes above mouth, whoever they belong to: after the best affine
map of one onto the other their correlation is often above 0.9. Wrinkles, strands of hair and the grain of the picture
agree only if it is one photograph. So the warp is found on the pictures themselves, by enhanced correlation
(Evangelidis and Psarakis 2008, in OpenCV), and judged on a band of high spatial frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from data_tools.duplicates.pictures import SIDE, Floats, standardised
from data_tools.duplicates.settings import TwinConfig

# Maps a place (x, y) of the first picture to the place of the second that shows the same; mirroring included.
Affine = NDArray[np.float64]

_HALF = SIDE // 2
_COARSE = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 8, 1e-3)
_FINE = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
# Where to start, at half the size: as they lie, and turned by 14 degrees either way.
_STARTS: tuple[Affine, ...] = tuple(
    np.asarray(cv2.getRotationMatrix2D(((_HALF - 1) / 2, (_HALF - 1) / 2), degrees, 1.0), np.float64)
    for degrees in (0, -14, 14)
)
_TURNED_FROM = 0.6  # likeness of embeddings from which more than the first is tried
_GATE = 0.70  # detail at half the size from which a pair is looked at in full size
_STRAIGHT = 0.85  # correlation without any warp from which the search for one starts with none
_OVERLAP = 300  # pixels that both must show, of 2,304
_SCALE = (0.4, 2.5)  # area that a warp may give to a pixel
MIRROR = np.array([[-1.0, 0.0, SIDE - 1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class Match:
    """A confirmed pair: how well its detail agrees, and by which map."""

    detail: float
    affine: Affine


class Aligner:
    """Compares pictures, uint8 (n, 48, 48), pair by pair. Threads may share it."""

    def __init__(self, pictures: NDArray[np.uint8], config: TwinConfig) -> None:
        self.config = config
        self._full = standardised(pictures)
        self._half = [_halved(picture) for picture in self._full]

    def straight(self, first: int, second: int, mirrored: bool) -> float:
        """Correlation of two pictures as they lie, the second mirrored or not."""
        second_picture = self._full[second][:, ::-1] if mirrored else self._full[second]
        return float(np.vdot(self._full[first], second_picture)) / SIDE**2

    def confirm(self, first: int, second: int, mirrored: bool, alike: float) -> Match | None:
        """The map of `first` onto `second`, mirrored or not, if they are one photograph.

        `alike` is how near their embeddings lie: where they are very near, less agreement of the detail is enough.
        """
        straight = self.straight(first, second, mirrored)
        guess: Affine | None = np.eye(2, 3)
        if straight < _STRAIGHT:
            guess = self._coarse_from(first, second, mirrored, _STARTS if alike >= _TURNED_FROM else _STARTS[:1])
        least = self.config.detail if alike < self.config.alike else self.config.alike_detail
        match = None if guess is None else self._fine(first, second, mirrored, guess, least)
        if match is None and straight >= self.config.correlation:
            match = Match(straight, np.eye(2, 3))
        if match is None:
            return None
        return Match(match.detail, after(MIRROR, match.affine) if mirrored else match.affine)

    def confirm_warped(self, first: int, second: int, mirrored: bool, expected: Affine) -> Match | None:
        """As `confirm`, where `first`, mirrored or not, is expected to look like `second` under a map of its places."""
        start = after(MIRROR, after(expected, MIRROR)) if mirrored else expected
        guess = self._coarse_from(first, second, mirrored, (_halved_map(start),))
        match = None if guess is None else self._fine(first, second, mirrored, guess, self.config.detail)
        if match is None or not mirrored:
            return match
        return Match(match.detail, after(MIRROR, match.affine))

    def confirm_from(self, first: int, second: int, guess: Affine) -> Match | None:
        """As `confirm`, starting from a map that other pairs imply, against the threshold `chain`."""
        mirrored = np.linalg.det(guess[:, :2]) < 0
        match = self._fine(first, second, mirrored, after(MIRROR, guess) if mirrored else guess, self.config.chain)
        if match is not None and mirrored:
            return Match(match.detail, after(MIRROR, match.affine))
        return match

    def _coarse_from(self, first: int, second: int, mirrored: bool, starts: Sequence[Affine]) -> Affine | None:
        """The first map from one of the starts, at half the size, that makes the detail agree well enough to go on."""
        target, moving = self._half[first], self._half[second]
        if mirrored:
            moving = np.ascontiguousarray(moving[:, ::-1])
        target_detail, moving_detail = _band(target, 0.5, 2.0), _band(moving, 0.5, 2.0)
        for start in starts:
            warp = _search(target, moving, start, _COARSE)
            if warp is not None and _agreement(target_detail, moving_detail, warp, _OVERLAP // 4) >= _GATE:
                return _doubled(warp)
        return None

    def _fine(self, first: int, second: int, mirrored: bool, guess: Affine, threshold: float) -> Match | None:
        target, moving = self._full[first], self._full[second]
        if mirrored:
            moving = np.ascontiguousarray(moving[:, ::-1])
        warp = _search(target, moving, guess, _FINE)
        if warp is None:
            return None
        target_detail, moving_detail = _band(target, 0.5, 2.0), _band(moving, 0.5, 2.0)
        detail = _agreement(target_detail, moving_detail, warp, _OVERLAP)
        if detail < 0.95:
            # The copy is the blurred one of the two. Warped onto it, the original is blurred in the same way.
            back = _search(moving, target, inverse(warp), _FINE)
            if back is not None:
                backwards = _agreement(moving_detail, target_detail, back, _OVERLAP)
                if backwards > detail:
                    detail, warp = backwards, inverse(back)
        return Match(detail, warp) if detail >= threshold else None


def corner_shift(affine: Affine) -> float:
    """Pixels by which a map moves the corner that it moves furthest; mirroring, if it mirrors, not counted."""
    plain = after(MIRROR, affine) if np.linalg.det(affine[:, :2]) < 0 else affine
    end = SIDE - 1.0
    corners = np.array([[0.0, 0.0, 1.0], [end, 0.0, 1.0], [0.0, end, 1.0], [end, end, 1.0]])
    return float(np.hypot(*(corners @ plain.T - corners[:, :2]).T).max())


def after(outer: Affine, inner: Affine) -> Affine:
    """The map that does `inner` first and `outer` then."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def inverse(affine: Affine) -> Affine:
    """The map back."""
    matrix = np.linalg.inv(affine[:, :2])
    return np.column_stack([matrix, -matrix @ affine[:, 2]])


def _search(target: Floats, moving: Floats, guess: Affine, criteria: tuple[int, int, float]) -> Affine | None:
    """Affine map of `target`'s places to `moving`'s with the highest correlation near `guess`, or None."""
    try:
        start = guess.astype(np.float32)
        _, warp = cv2.findTransformECC(  # type: ignore[call-overload]  # its stub knows no None for the mask
            target, moving, start, cv2.MOTION_AFFINE, criteria, None, 3
        )
    except cv2.error:  # it does not converge, or the pictures no longer overlap
        return None
    area = float(warp[0, 0] * warp[1, 1] - warp[0, 1] * warp[1, 0])
    return warp.astype(np.float64) if _SCALE[0] <= area <= _SCALE[1] else None


def _agreement(target: Floats, moving: Floats, warp: Affine, least: int) -> float:
    """Correlation of `target` and the warped `moving` where both show something; -1 if that is less than `least`."""
    size, flags = target.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(moving, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.warpAffine(np.ones_like(target), warp, size, flags=flags) > 0.99
    if np.count_nonzero(shown) < least:
        return -1.0
    a, b = target[shown], laid[shown]
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-12))


def _band(picture: Floats, fine: float, coarse: float) -> Floats:
    """What lies between two Gaussian blurs of these standard deviations in pixels."""
    return cv2.GaussianBlur(picture, (0, 0), fine) - cv2.GaussianBlur(picture, (0, 0), coarse)


def _halved(picture: Floats) -> Floats:
    return cast(Floats, cv2.resize(picture, (_HALF, _HALF), interpolation=cv2.INTER_AREA))


def _doubled(warp: Affine) -> Affine:
    """A map between pictures of half the size, for the pictures; the middle of pixel 0 lies between 0 and 1 there."""
    half = np.array([0.5, 0.5])
    return np.column_stack([warp[:, :2], 2 * warp[:, 2] + half - warp[:, :2] @ half])


def _halved_map(warp: Affine) -> Affine:
    """The inverse of `_doubled`."""
    half = np.array([0.5, 0.5])
    return np.column_stack([warp[:, :2], (warp[:, 2] - half + warp[:, :2] @ half) / 2])
