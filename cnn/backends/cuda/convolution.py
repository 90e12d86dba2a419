"""Convolution, by a kernel that is selected by the shape."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Array, Epilogue
from cnn.backends.cuda.arrays import named, window_struct
from cnn.backends.cuda.dense import NOTHING, CudaDense, ends_in_relu, moments_of_product
from cnn.backends.cuda.joins import CudaJoins
from cnn.backends.window import Window
from cnn.kernels import STRUCTS, fast_divmod
from cnn.kernels.families.convolution import ONE_CHANNEL, depthwise_parts, one_channel_parts
from cnn.kernels.tile_choice import ceil_div


class CudaConvolution(CudaDense, CudaJoins):
    """Kernels in `convolution.cu`, `convolution_direct.cu` for one channel and depthwise, and `convolution_tensor.cu`.

    Products of bfloat16 arrays are as `CudaDense` says.
    """

    sums_gradients = True

    def conv2d(
        self, x: Array, w: Array, b: Array | None, window: Window, groups: int, epilogue: Epilogue = NOTHING
    ) -> Array:
        relu = ends_in_relu(epilogue)
        w = self.stored_like(x, w)
        if self.by_tensor_cores(x, window, x.shape[3], w.shape[3], groups):
            y, with_moments = self.tensor_forward(x, w, b, window, relu, moments_of_product(epilogue))
            return y if with_moments else self.finish(y, epilogue)
        if direct := _direct(window, x.shape[3], groups):
            return self.finish(self._direct(direct, x, w, b, window, groups, relu), epilogue)
        return self.finish(self.stored_like(x, self._conv2d(*self.widened(x, w), b, window, groups, relu)), epilogue)

    def _conv2d(self, x: Array, w: Array, b: Array | None, window: Window, groups: int, relu: bool) -> Array:
        n, channels, filters = x.shape[0], x.shape[3], w.shape[3]
        geometry, y = window_struct(window, n, channels), self.floats(n, *window.output_hw, filters)
        group_channels, group_filters = channels // groups, filters // groups
        by = _divmods(window, group_channels, group_filters)
        return self.product(
            "conv_forward",
            (y.size // filters, window.taps * group_channels, group_filters),
            groups,
            group_channels % 4 == 0 and group_filters % 4 == 0 and self.aligned(x, w),
            y,
            lambda name, y, bias, parts, splits, fused: self.launch(
                name, x, w, bias, y, *parts, geometry, by, filters, groups, splits, fused
            ),
            b,
            relu,
        )

    def _direct(
        self, direct: str, x: Array, w: Array, b: Array | None, window: Window, groups: int, relu: bool
    ) -> Array:
        """y by the kernel of this name, which is no matrix product."""
        n, channels, filters = x.shape[0], x.shape[3], w.shape[3]
        geometry, y = window_struct(window, n, channels), self.empty((n, *window.output_hw, filters), x.dtype)
        by = () if _is_depthwise(channels, groups) else _output_divmods(window)
        self.launch(named(direct, x), x, w, b, y, geometry, *by, filters, int(relu))
        return y

    def conv2d_backward_input(
        self, dy: Array, w: Array, window: Window, groups: int, added: Array | None = None
    ) -> Array:
        w, with_added = self.stored_like(dy, w), False
        if self.by_tensor_cores(dy, window, w.shape[2], dy.shape[3], groups):
            dx, with_added = self.tensor_backward_input(dy, w, window, added)
        elif _is_depthwise(w.shape[2] * groups, groups):
            n, filters = dy.shape[0], dy.shape[3]
            dx = self.empty((n, *window.input_hw, groups), dy.dtype)
            name = named("conv_depthwise_backward_input", dy)
            self.launch(name, dy, w, dx, window_struct(window, n, groups), filters)
        else:
            dx = self.stored_like(dy, self._conv2d_backward_input(*self.widened(dy, w), window, groups))
        return dx if added is None or with_added else self.add(added, dx)

    def _conv2d_backward_input(self, dy: Array, w: Array, window: Window, groups: int) -> Array:
        n, filters, channels = dy.shape[0], dy.shape[3], w.shape[2] * groups
        geometry, dx = window_struct(window, n, channels), self.floats(n, *window.input_hw, channels)
        group_channels, group_filters = channels // groups, filters // groups
        by = _divmods(window, group_channels, group_filters)
        return self.product(
            "conv_backward_input",
            (dx.size // channels, window.taps * group_filters, group_channels),
            groups,
            group_channels % 4 == 0 and group_filters % 4 == 0 and self.aligned(dy, w),
            dx,
            lambda name, dx, _, parts, splits, __: self.launch(
                name, dy, w, dx, *parts, geometry, by, filters, groups, splits
            ),
        )

    def conv2d_backward_filter(
        self, dy: Array, x: Array, window: Window, groups: int, out: Array | None = None
    ) -> Array:
        n, p, q, filters = dy.shape
        channels = x.shape[3]
        geometry, group_channels, group_filters = (
            window_struct(window, n, channels),
            channels // groups,
            filters // groups,
        )
        dw = self.floats(*window.kernel, group_channels, filters) if out is None else out
        dy, x = self.alike(dy, x)
        if self.by_tensor_cores(x, window, channels, filters, groups):
            return self.tensor_backward_filter(dy, x, window, dw)
        if direct := _direct(window, channels, groups):
            by: tuple[NDArray[Any], ...] = ()
            if _is_depthwise(channels, groups):
                name = "conv_depthwise_backward_filter"
                count, tiles = depthwise_parts(n * p * q, filters, window.taps), ceil_div(filters, 32) * window.taps
            else:
                name = direct.replace("one_channel", "one_channel_backward_filter")
                by, count, tiles = _output_divmods(window), one_channel_parts(n * p * q), 1
            parts, counters = self.parts(count, dw.size, tiles)
            arrays = x, dy, *((dw, None) if parts is None else (parts, dw)), counters
            self.launch(named(name, x), *arrays, geometry, *by, filters)
            return dw
        dy, x = self.widened(dy, x)
        divmods = _divmods(window, group_channels, group_filters)
        return self.product(
            "conv_backward_filter",
            (window.taps * group_channels, n * p * q, group_filters),
            groups,
            group_channels % 4 == 0 and group_filters % 4 == 0 and self.aligned(x, dy, dw),
            dw,
            lambda name, dw, _, parts, splits, __: self.launch(
                name, x, dy, dw, *parts, geometry, divmods, filters, groups, splits
            ),
        )


@functools.lru_cache(maxsize=1024)
def _divmods(window: Window, group_channels: int, group_filters: int) -> NDArray[Any]:
    sides = (*window.output_hw, *window.input_hw, window.kernel[1], *window.stride)
    fields = tuple(fast_divmod(number) for number in (*sides, group_channels, group_filters))
    return np.array([fields], dtype=STRUCTS["ConvDivmods"])


@functools.lru_cache(maxsize=1024)
def _output_divmods(window: Window) -> tuple[NDArray[Any], NDArray[Any]]:
    """Divisors by the sides of the output."""
    p, q = (np.array([fast_divmod(side)], STRUCTS["FastDivmod"]) for side in window.output_hw)
    return p, q


def _is_depthwise(channels: int, groups: int) -> bool:
    return groups == channels > 1


def _direct(window: Window, channels: int, groups: int) -> str | None:
    """The forward kernel that is no matrix product, if this shape has one; then the filter gradient has one too."""
    if _is_depthwise(channels, groups):
        return "conv_depthwise"
    if channels == 1 and window.kernel in ONE_CHANNEL:
        return "conv_one_channel_{}x{}".format(*window.kernel)
    return None
