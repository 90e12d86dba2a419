"""Batches: gather, warp, normalise, erase."""

from __future__ import annotations

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase
from cnn.backends.workers import pieces


class NumpyBatches(NumpyBase):
    """From the stored uint8 pictures to the network's input."""

    def gather_batch(
        self,
        images: FloatArray,
        indices: FloatArray,
        affine: FloatArray,
        erase: FloatArray,
        scale: FloatArray,
        offset: FloatArray,
    ) -> FloatArray:
        affine = affine.astype(np.float32, copy=False)
        count, height, width, channels = len(indices), *images.shape[1:]
        batch = np.empty((count, height, width, channels), scale.dtype)
        # A picture that is only moved is whole rows and columns of the stored one, picked by number.
        moved, rows, columns = _only_moved(affine), _places(affine, 0, height), _places(affine, 1, width)

        def run(piece: slice) -> None:
            for k in range(piece.start, piece.stop):
                stored = images[indices[k]]
                seen = stored[rows[k, :, None], columns[k]] if moved[k] else _warp(stored, affine[k], scale.dtype)
                np.multiply(seen, scale, out=batch[k])
                batch[k] += offset
                top, left, tall, wide = erase[k]
                batch[k, top : top + tall, left : left + wide] = 0

        self.workers.map(run, pieces(count, 32))
        return batch


def _only_moved(affine: FloatArray) -> FloatArray:
    """Which of the matrices (n, 2, 3) mirror and shift by whole pixels and do nothing else: (n,) bool."""
    straight = (affine[:, 0, 1] == 0) & (affine[:, 1, 0] == 0)
    return straight & (affine == np.round(affine)).all(axis=(1, 2))


def _places(affine: FloatArray, axis: int, size: int) -> FloatArray:
    """The rows (axis 0) or columns (axis 1) that straight matrices (n, 2, 3) pick: (n, size)."""
    places = affine[:, axis, axis, None] * np.arange(size, dtype=np.float32) + affine[:, axis, 2, None]
    return np.clip(places, 0, size - 1).astype(np.int64)


def _warp(picture: FloatArray, a: FloatArray, dtype: np.dtype) -> FloatArray:
    """The picture (h, w, c) under a matrix a (2, 3), bilinear: (h, w, c) of `dtype`."""
    height, width, channels = picture.shape
    i, j = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    row = np.clip((a[0, 0] * i + a[0, 1] * j) + a[0, 2], 0, height - 1)
    column = np.clip((a[1, 0] * i + a[1, 1] * j) + a[1, 2], 0, width - 1)
    upper, left = np.floor(row), np.floor(column)
    fr, fc = (part.astype(dtype)[:, :, None] for part in (row - upper, column - left))
    pixels = picture.reshape(-1, channels).astype(dtype)
    place = upper.astype(np.int64) * width + left.astype(np.int64)

    def between(place: FloatArray) -> FloatArray:
        # Behind the last column or row is some other pixel, which a fraction of 0 leaves out.
        first, second = (pixels.take(p, axis=0, mode="clip") for p in (place, place + 1))
        return first + fc * (second - first)

    top, bottom = between(place), between(place + width)
    return top + fr * (bottom - top)
