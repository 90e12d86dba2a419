"""Aligning many pairs of images at once at half the size, which rules most candidates out.

The map of one image onto another is found by enhanced correlation (Evangelidis and Psarakis 2008, "Parametric image
alignment using enhanced correlation coefficient maximization"), with the mean of both images' derivatives, which needs
fewer iterations and finds larger warps (Benhimane and Malis 2004, "Real-time image-based tracking of planes using
efficient second-order minimization"). OpenCV aligns one pair at a time, and with images so small its calls take most
of their time. Here the pairs of a batch share every operation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from data_tools.duplicates.thumbnails import SIDE, Floats

HALF = SIDE // 2
SCALE = (0.4, 2.5)  # least and greatest area that a warp may give to a pixel

# Maps (n, 2, 3) of coordinates (x, y) of the first images to those of the same points in the second ones.
Affines = NDArray[np.float64]

_PIXELS = HALF * HALF
_MIDDLE = (HALF - 1) / 2
_OVERLAP = 75  # pixels that both images must show, of 576
_ITERATIONS = 10
_GAIN = 1e-2  # of correlation: an iteration that gains less is the last one
HOPELESS = 0.65  # correlation below which fewer than 1 in 1,000 copies are after some iterations
_SOME = 3
_WILD = 0.2, 5.0  # as SCALE, during the search
_RIDGE = 1e-6  # of the mean curvature: for images without structure in some direction
_PARTS = 512  # of a pixel
_Y, _X = (np.mgrid[:HALF, :HALF].reshape(2, _PIXELS) - _MIDDLE).astype(np.float32)


def smoothed(half: Floats) -> Floats:
    """An image (24, 24) as `align` wants it: without the finest grain, whose derivatives say little."""
    return cast(Floats, cv2.GaussianBlur(half, (3, 3), 0))


def align(
    targets: Floats, moving: Floats, starts: Affines, hopeless: float = HOPELESS
) -> tuple[Affines, NDArray[np.bool_]]:
    """Maps of `targets` onto `moving`, both float32 (n, 24, 24) from `smoothed`, with the highest correlation.

    They are sought from the maps `starts`. Pairs that correlate less than `hopeless` after some iterations are dropped.
    The second result says where a map was found, bool (n,).
    """
    number = len(targets)
    found, out = np.zeros(number, bool), _centred(starts)
    flat = targets.reshape(number, _PIXELS).copy()
    pairs = _Pairs(flat, _slopes(targets), moving.copy(), *_centred(starts), np.full(number, -1.0), np.arange(number))
    scratch = np.empty((number, 9, _PIXELS), np.float32)
    for iteration in range(_ITERATIONS):
        step, correlation, possible = _step(pairs, scratch[: len(pairs.place)])
        if iteration >= _SOME:
            possible &= correlation >= hopeless
        going = possible & (np.abs(correlation - pairs.reached) >= _GAIN)
        pairs.reached[:] = correlation
        _end(pairs, possible & ~going, out, found)
        pairs.follow(going, step)
        going &= _sensible(pairs.linear, pairs.shift, _WILD)
        pairs = pairs.kept(going)
    _end(pairs, np.ones(len(pairs.place), bool), out, found)
    return _uncentred(*out), found & _sensible(*out, SCALE)


def agreement(targets: Floats, moving: Floats, maps: Affines) -> NDArray[np.float64]:
    """Correlation (n,) of `targets` and the warped `moving`, (n, 24, 24), where both show; -1 if hardly anywhere."""
    rows = np.empty((len(targets), 3, _PIXELS), np.float32)
    warped, rows[:, 2] = _warped(moving, *_centred(maps))
    np.multiply(targets.reshape(-1, _PIXELS), rows[:, 2], out=rows[:, 0])
    np.multiply(warped, rows[:, 2], out=rows[:, 1])
    products, shown = _products(rows)
    spread = np.maximum(products[:, 0, 0] * products[:, 1, 1], 1e-12)
    return np.where(shown >= _OVERLAP, products[:, 0, 1] / np.sqrt(spread), -1.0)


@dataclass(slots=True)
class _Pairs:
    """Pairs whose maps are sought."""

    targets: Floats  # (n, 576)
    slopes: Floats  # (n, 2, 576): of the targets, to the right and down
    moving: Floats  # (n, 24, 24)
    linear: Affines  # (n, 2, 2) and ...
    shift: NDArray[np.float64]  # ... (n, 2): the maps about the middle
    reached: NDArray[np.float64]  # correlation
    place: NDArray[np.intp]  # in the batch

    def follow(self, going: NDArray[np.bool_], step: NDArray[np.float64]) -> None:
        """Change the maps of those that are `going` by the inverse of the targets' change `step` (n, 6)."""
        step = step[going].reshape(-1, 2, 3)
        change, moved = np.eye(2) + step[:, :, :2], step[:, :, 2]
        determinant = change[:, 0, 0] * change[:, 1, 1] - change[:, 0, 1] * change[:, 1, 0]
        adjugate = np.stack([change[:, 1, 1], -change[:, 0, 1], -change[:, 1, 0], change[:, 0, 0]], axis=1)
        # A change that collapses the image gives a map that is not sensible, and is dropped as such.
        back = adjugate.reshape(-1, 2, 2) / np.where(np.abs(determinant) < 1e-3, 1e-3, determinant)[:, None, None]
        linear = self.linear[going] @ back
        self.linear[going] = linear
        self.shift[going] -= np.einsum("nij,nj->ni", linear, moved)

    def kept(self, going: NDArray[np.bool_]) -> _Pairs:
        """The pairs that go on, in the same memory: the last ones take the places of those that end."""
        number = int(np.count_nonzero(going))
        holes, movers = np.flatnonzero(~going[:number]), number + np.flatnonzero(going[number:])
        every = [getattr(self, each.name) for each in fields(self)]
        for each in every:
            each[holes] = each[movers]
        return _Pairs(*(each[:number] for each in every))


def _end(
    pairs: _Pairs, ended: NDArray[np.bool_], out: tuple[Affines, NDArray[np.float64]], found: NDArray[np.bool_]
) -> None:
    """Write the maps of the pairs that `ended` to their places in the batch."""
    at = pairs.place[ended]
    out[0][at], out[1][at], found[at] = pairs.linear[ended], pairs.shift[ended], True


def _slopes(images: Floats) -> Floats:
    """Twice the derivatives (n, 2, 576) of images (n, 24, 24) to the right and down; 0 at the edges."""
    out = np.zeros((len(images), 2, HALF, HALF), np.float32)
    np.subtract(images[:, :, 2:], images[:, :, :-2], out=out[:, 0, :, 1:-1])
    np.subtract(images[:, 2:], images[:, :-2], out=out[:, 1, 1:-1])
    return out.reshape(-1, 2, _PIXELS)


def _warped(images: Floats, linear: Affines, shift: NDArray[np.float64]) -> tuple[Floats, NDArray[np.bool_]]:
    """Images (n, 24, 24) warped, (n, 576), and where they show, that is, where a pixel comes from inside."""
    if not len(images):  # OpenCV refuses empty images
        return np.empty((0, _PIXELS), np.float32), np.empty((0, _PIXELS), bool)
    a, t = linear.astype(np.float32)[..., None], shift.astype(np.float32)[..., None]
    coordinates, shown = [], np.ones((len(images), _PIXELS), bool)
    for axis in (0, 1):
        at = a[:, axis, 0] * _X
        at += a[:, axis, 1] * _Y
        at += t[:, axis]
        shown &= np.abs(at) <= _MIDDLE
        at += _MIDDLE
        coordinates.append(at)
    x, y = coordinates
    # All images lie one below the other. Clipped and rounded, so that adding an image's place is exact, a warp reads
    # nothing of its neighbours, and does not depend on which they are.
    y *= _PARTS
    np.rint(y, out=y)
    np.clip(y, 0, (HALF - 1) * _PARTS - 1, out=y)
    y /= _PARTS
    y += (np.arange(len(images), dtype=np.float32) * HALF)[:, None]
    form = (-1, HALF)
    out = cv2.remap(images.reshape(form), x.reshape(form), y.reshape(form), cv2.INTER_LINEAR)
    return cast(Floats, out.reshape(-1, _PIXELS)), shown


def _products(rows: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over the shown pixels of the products of all `rows` but the last, less their means, (n, k, k).

    The last row is 1 where a pixel is shown and 0 elsewhere; there the other rows are 0, too. The second result is the
    number of pixels shown, (n,).
    """
    sums = np.matmul(rows, rows.transpose(0, 2, 1)).astype(np.float64)
    shown, total = sums[:, -1, -1], sums[:, :-1, -1]
    means = total / np.maximum(shown, 1)[:, None]
    return sums[:, :-1, :-1] - total[:, :, None] * means[:, None], shown


def _step(pairs: _Pairs, rows: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """The change (n, 6) of the targets' maps, the correlation before it, and whether there is a change for the better.

    With derivatives G, target t and warped image w, the factor of w that leaves the least error after the change is
    (t.t - t.Pt) / (t.w - t.Pw) for the projection P = G (G'G)^-1 G', and the change (G'G)^-1 G' (factor * w - t).
    `rows` (n, 9, 576) is overwritten.
    """
    warped, shown = _warped(pairs.moving, pairs.linear, pairs.shift)
    rows[:, 8] = shown
    np.multiply(pairs.targets, rows[:, 8], out=rows[:, 6])
    np.multiply(warped, rows[:, 8], out=rows[:, 7])
    slopes = _slopes(warped.reshape(-1, HALF, HALF))
    slopes += pairs.slopes
    slopes *= rows[:, 8:] / 4  # the mean of two, each twice the derivative
    for row, slope in ((0, slopes[:, 0]), (3, slopes[:, 1])):
        np.multiply(slope, _X, out=rows[:, row])
        np.multiply(slope, _Y, out=rows[:, row + 1])
        rows[:, row + 2] = slope
    products, seen = _products(rows)
    curvature, along = products[:, :6, :6], products[:, :6, 6:]
    ridge = _RIDGE * np.trace(curvature, axis1=1, axis2=2) + 1e-9
    solved = np.linalg.solve(curvature + ridge[:, None, None] * np.eye(6), along)
    own, other = solved[:, :, 0], solved[:, :, 1]
    above = products[:, 6, 6] - (along[:, :, 0] * own).sum(axis=1)
    below = products[:, 6, 7] - (along[:, :, 0] * other).sum(axis=1)
    possible = (above > 0) & (below > 0) & (seen >= _OVERLAP)
    factor = above / np.where(possible, below, 1)
    spread = np.sqrt(np.maximum(products[:, 6, 6] * products[:, 7, 7], 1e-12))
    return factor[:, None] * other - own, products[:, 6, 7] / spread, possible


def _sensible(linear: Affines, shift: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.bool_]:
    area = linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]
    return (area >= scale[0]) & (area <= scale[1]) & (np.abs(shift).max(axis=1) < HALF)


def _centred(maps: Affines) -> tuple[Affines, NDArray[np.float64]]:
    """The linear part (n, 2, 2) of maps, and how far they move the middle (n, 2): well conditioned as unknowns."""
    linear = np.array(maps[:, :, :2], np.float64)
    return linear, maps[:, :, 2] + linear.sum(axis=2) * _MIDDLE - _MIDDLE


def _uncentred(linear: Affines, shift: NDArray[np.float64]) -> Affines:
    """The inverse of `_centred`."""
    moved = shift + _MIDDLE - linear.sum(axis=2) * _MIDDLE
    return np.concatenate([linear, moved[:, :, None]], axis=2)
