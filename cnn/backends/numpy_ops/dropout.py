"""Dropout from the counter-based generator."""

from __future__ import annotations

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase
from cnn.backends.philox import RandomKey, random_halves
from cnn.backends.workers import pieces

_PIECE = 1 << 15  # elements; a multiple of the eight that one Philox block serves


class NumpyDropout(NumpyBase):
    """Inverted dropout: what is kept is scaled up, so that inference needs nothing."""

    def dropout(self, x: FloatArray, rate: float, key: RandomKey) -> tuple[FloatArray, FloatArray]:
        threshold, scale = dropout_threshold(rate)
        y, mask = self.memory.empty(x.shape, x.dtype), self.memory.empty(x.shape, np.uint8)
        flat_x, flat_y, flat_mask = x.reshape(-1), y.reshape(-1), mask.reshape(-1)

        def run(piece: slice) -> None:
            bits = random_halves(key, piece.start, piece.stop - piece.start)
            np.greater_equal(bits, threshold, out=flat_mask[piece], casting="unsafe")
            np.multiply(flat_x[piece], flat_mask[piece], out=flat_y[piece])
            flat_y[piece] *= scale

        self.workers.map(run, pieces(x.size, _PIECE))
        return y, mask

    def dropout_backward(self, dy: FloatArray, mask: FloatArray, rate: float) -> FloatArray:
        _, scale = dropout_threshold(rate)

        def run(dy: FloatArray, mask: FloatArray, out: FloatArray) -> None:
            np.multiply(dy, mask, out=out)
            out *= scale

        return self.elementwise(run, dy, mask)


def dropout_threshold(rate: float) -> tuple[int, float]:
    """The 16-bit threshold below which an element is dropped, and the scale of what is kept."""
    threshold = round(rate * 65536)
    return threshold, 65536 / (65536 - threshold)
