"""Pooling."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Array
from cnn.backends.cuda.arrays import CudaArrays, named, window_struct
from cnn.backends.window import Window
from cnn.kernels import STRUCTS


class CudaPooling(CudaArrays):
    """Kernels in `cnn/kernels/pooling.cu`."""

    def max_pool2d(self, x: Array, window: Window) -> tuple[Array, Array]:
        n, _, _, c = x.shape
        shape = (n, *window.output_hw, c)
        indices = np.dtype(np.uint8 if window.taps <= 256 else np.int32)
        y, argmax = self.empty(shape, x.dtype), self.empty(shape, indices)
        self.launch(named(f"max_pool2d_{indices}", x), x, y, argmax, window_struct(window, n, c))
        return y, argmax

    def max_pool2d_backward(self, dy: Array, argmax: Array, window: Window) -> Array:
        n, _, _, c = dy.shape
        dx = self.empty((n, *window.input_hw, c), dy.dtype)
        kernel = named(f"max_pool2d_backward_{argmax.dtype}", dy)
        self.launch(kernel, dy, argmax, dx, window_struct(window, n, c))
        return dx

    def avg_pool2d(self, x: Array, window: Window, count_padding: bool = False) -> Array:
        n, _, _, c = x.shape
        y = self.empty((n, *window.output_hw, c), x.dtype)
        self.launch(named("avg_pool2d", x), x, y, window_struct(window, n, c), _margins(window, count_padding))
        return y

    def avg_pool2d_backward(self, dy: Array, window: Window, count_padding: bool = False) -> Array:
        n, _, _, c = dy.shape
        dx = self.empty((n, *window.input_hw, c), dy.dtype)
        margins = _margins(window, count_padding)
        self.launch(named("avg_pool2d_backward", dy), dy, dx, window_struct(window, n, c), margins)
        return dx

    def global_avg_pool2d(self, x: Array) -> Array:
        n, h, w, c = x.shape
        y = self.empty((n, c), x.dtype)
        self.launch(named("global_avg_pool2d", x), x, y, n, h * w, c)
        return y

    def global_avg_pool2d_backward(self, dy: Array, hw: tuple[int, int]) -> Array:
        n, c = dy.shape
        dx = self.empty((n, *hw, c), dy.dtype)
        self.launch(named("global_avg_pool2d_backward", dy), dy, dx, n, hw[0] * hw[1], c)
        return dx


@functools.lru_cache(maxsize=1024)
def _margins(window: Window, count_padding: bool) -> NDArray[Any]:
    """The padding that counts in a mean: all or none of it; pixels beyond it that `ceil` adds never count."""
    return np.array([window.padding if count_padding else (0, 0, 0, 0)], STRUCTS["Margins"])
