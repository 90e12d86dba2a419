"""Max pooling, compiled where windows lie side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cnn.backends.compiled_ops import pool_kernels
from cnn.backends.numpy_ops.base import FloatArray
from cnn.backends.numpy_ops.pooling import NumpyPooling
from cnn.backends.window import Window
from cnn.backends.workers import pieces

# Bytes of a piece of images: it is read twice by batch normalisation, the second time from the cache.
PIECE_BYTES = 1 << 18
# A single image is cut only if it is as large as this: a second core has to fetch it from the first one's cache.
_WORTH_TWO_CORES = 1 << 20


class PooledPiece(NamedTuple):
    """Some images, or some rows of one: where they lie in the input, and what becomes of them in the output."""

    seen: tuple[slice, slice]
    made: tuple[slice, slice]


def pooled_pieces(x: FloatArray, window: Window) -> list[PooledPiece]:
    """x (n, h, w, c) in pieces of about `PIECE_BYTES`, whose views are contiguous: whole images, or rows of one."""
    one = max(1, x[:1].nbytes)
    images, rows = max(1, PIECE_BYTES // one), window.output_hw[0]
    down = max(1, rows * PIECE_BYTES // one if len(x) == 1 and one >= _WORTH_TWO_CORES else rows)
    height = window.kernel[0]
    return [
        PooledPiece((some, slice(height * lines.start, height * lines.stop)), (some, lines))
        for some in pieces(len(x), images)
        for lines in pieces(rows, down)
    ]


class CompiledPooling(NumpyPooling):
    """Other windows, and average pooling, are NumPy's."""

    def max_pool2d(self, x: FloatArray, window: Window) -> tuple[FloatArray, FloatArray]:
        if not window.side_by_side:
            return super().max_pool2d(x, window)
        shape = (len(x), *window.output_hw, x.shape[3])
        y, winner = self.memory.empty(shape, x.dtype), self.memory.empty(shape, np.uint8)

        def run(piece: PooledPiece) -> None:
            pool_kernels.max_pool(x[piece.seen], window.kernel, y[piece.made], winner[piece.made])

        self.workers.map(run, pooled_pieces(x, window))
        return y, winner

    def max_pool2d_backward(self, dy: FloatArray, winner: FloatArray, window: Window) -> FloatArray:
        if not window.side_by_side:
            return super().max_pool2d_backward(dy, winner, window)
        dx = self.memory.empty((len(dy), *window.input_hw, dy.shape[3]), dy.dtype)
        self.workers.map(
            lambda piece: pool_kernels.max_pool_backward(dy[piece], winner[piece], window.kernel, dx[piece]),
            pieces(len(dy), 1),
        )
        return dx
