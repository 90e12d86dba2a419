"""Max pooling, compiled where windows lie side by side."""

from __future__ import annotations

import numpy as np

from cnn.backends.compiled_ops import pool_kernels
from cnn.backends.numpy_ops.base import FloatArray
from cnn.backends.numpy_ops.pooling import NumpyPooling
from cnn.backends.window import Window
from cnn.backends.workers import pieces


class CompiledPooling(NumpyPooling):
    """Other windows, and average pooling, are NumPy's."""

    def max_pool2d(self, x: FloatArray, window: Window) -> tuple[FloatArray, FloatArray]:
        if not window.side_by_side:
            return super().max_pool2d(x, window)
        shape = (len(x), *window.output_hw, x.shape[3])
        y, winner = self.memory.empty(shape, x.dtype), self.memory.empty(shape, np.uint8)
        self.workers.map(
            lambda piece: pool_kernels.max_pool(x[piece], window.kernel, y[piece], winner[piece]), pieces(len(x), 1)
        )
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
