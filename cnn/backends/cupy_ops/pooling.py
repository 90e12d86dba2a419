"""Pooling."""

from __future__ import annotations

import numpy as np

from cnn.backends.cupy_ops.base import CupyBase, window_struct
from cnn.backends.ops import Array
from cnn.backends.window import Window


class CupyPooling(CupyBase):
    """Kernels in `cnn/kernels/pooling.cu`."""

    def max_pool2d(self, x: Array, window: Window) -> tuple[Array, Array]:
        n, _, _, c = x.shape
        shape = (n, *window.output_hw, c)
        winners = np.dtype(np.uint8 if window.taps <= 256 else np.int32)
        y, winner = self.empty(shape), self.empty(shape, winners)
        self.launch(f"max_pool2d_{winners}", x, y, winner, window_struct(window, n, c))
        return y, winner

    def max_pool2d_backward(self, dy: Array, winner: Array, window: Window) -> Array:
        n, _, _, c = dy.shape
        dx = self.empty((n, *window.input_hw, c))
        self.launch(f"max_pool2d_backward_{winner.dtype}", dy, winner, dx, window_struct(window, n, c))
        return dx

    def avg_pool2d(self, x: Array, window: Window) -> Array:
        n, _, _, c = x.shape
        y = self.empty((n, *window.output_hw, c))
        self.launch("avg_pool2d", x, y, window_struct(window, n, c))
        return y

    def avg_pool2d_backward(self, dy: Array, window: Window) -> Array:
        n, _, _, c = dy.shape
        dx = self.empty((n, *window.input_hw, c))
        self.launch("avg_pool2d_backward", dy, dx, window_struct(window, n, c))
        return dx

    def global_avg_pool2d(self, x: Array) -> Array:
        n, h, w, c = x.shape
        y = self.empty((n, c))
        self.launch("global_avg_pool2d", x, y, n, h * w, c)
        return y

    def global_avg_pool2d_backward(self, dy: Array, hw: tuple[int, int]) -> Array:
        n, c = dy.shape
        dx = self.empty((n, *hw, c))
        self.launch("global_avg_pool2d_backward", dy, dx, n, hw[0] * hw[1], c)
        return dx
