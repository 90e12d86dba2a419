"""Convolution: which kernel computes it, by the shape alone."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.cupy_ops.base import window_struct
from cnn.backends.cupy_ops.dense import CupyDense
from cnn.backends.ops import Array
from cnn.backends.window import Window
from cnn.kernels import STRUCTS, divider
from cnn.kernels.families.convolution import ONE_CHANNEL, depthwise_parts, one_channel_parts


class CupyConvolution(CupyDense):
    """Kernels in `cnn/kernels/convolution.cu` and, for one channel and depthwise, `convolution_direct.cu`."""

    def conv2d(self, x: Array, w: Array, b: Array | None, window: Window, groups: int, relu: bool = False) -> Array:
        n, channels, filters = x.shape[0], x.shape[3], w.shape[3]
        geometry, shape = window_struct(window, n, channels), (n, *window.output_hw, filters)
        if direct := _direct(window, channels, groups):
            y = self.empty(shape)
            self.launch(direct, x, w, b, y, geometry, filters, int(relu))
            return y
        group_channels, group_filters = channels // groups, filters // groups
        by = _dividers(window, group_channels, group_filters)
        return self.product(
            "conv_forward",
            (n * shape[1] * shape[2], window.taps * group_channels, group_filters),
            groups,
            group_channels % 4 == 0 and group_filters % 4 == 0 and self.aligned(x, w),
            shape,
            lambda name, y, splits, bias, fused: self.launch(
                name, x, w, bias, y, geometry, by, filters, groups, splits, fused
            ),
            b,
            relu,
        )

    def conv2d_backward_input(self, dy: Array, w: Array, window: Window, groups: int) -> Array:
        n, filters, channels = dy.shape[0], dy.shape[3], w.shape[2] * groups
        geometry, shape = window_struct(window, n, channels), (n, *window.input_hw, channels)
        if _is_depthwise(channels, groups):
            dx = self.empty(shape)
            self.launch("conv_depthwise_backward_input", dy, w, dx, geometry, filters)
            return dx
        group_channels, group_filters = channels // groups, filters // groups
        by = _dividers(window, group_channels, group_filters)
        return self.product(
            "conv_backward_input",
            (n * shape[1] * shape[2], window.taps * group_filters, group_channels),
            groups,
            group_channels % 4 == 0 and group_filters % 4 == 0 and self.aligned(dy, w),
            shape,
            lambda name, dx, splits, *_: self.launch(name, dy, w, dx, geometry, by, filters, groups, splits),
        )

    def conv2d_backward_filter(self, dy: Array, x: Array, window: Window, groups: int) -> Array:
        n, p, q, filters = dy.shape
        channels = x.shape[3]
        geometry, shape = window_struct(window, n, channels), (*window.kernel, channels // groups, filters)
        if direct := _direct_backward_filter(window, channels, groups):
            depthwise = _is_depthwise(channels, groups)
            splits = depthwise_parts(n * p * q, filters, window.taps) if depthwise else one_channel_parts(n * p * q)
            parts = self.empty((splits, *shape))
            self.launch(direct, x, dy, parts, geometry, filters)
            return self.add_parts(parts, shape, splits)
        group_channels, group_filters = channels // groups, filters // groups
        by = _dividers(window, group_channels, group_filters)
        return self.product(
            "conv_backward_filter",
            (window.taps * group_channels, n * p * q, group_filters),
            groups,
            group_channels % 4 == 0 and group_filters % 4 == 0 and self.aligned(x, dy),
            shape,
            lambda name, dw, splits, *_: self.launch(name, x, dy, dw, geometry, by, filters, groups, splits),
        )


@functools.lru_cache(maxsize=1024)
def _dividers(window: Window, group_channels: int, group_filters: int) -> NDArray[Any]:
    sides = (*window.output_hw, *window.input_hw, window.kernel[1], *window.stride)
    fields = tuple(divider(number) for number in (*sides, group_channels, group_filters))
    return np.array([fields], dtype=STRUCTS["ConvDividers"])


def _is_depthwise(channels: int, groups: int) -> bool:
    return groups == channels > 1


def _direct(window: Window, channels: int, groups: int) -> str | None:
    """The forward kernel that is no matrix product, where there is one for this shape."""
    if _is_depthwise(channels, groups):
        return "conv_depthwise"
    if channels == 1 and window.kernel in ONE_CHANNEL:
        return "conv_one_channel_{}x{}".format(*window.kernel)
    return None


def _direct_backward_filter(window: Window, channels: int, groups: int) -> str | None:
    """The filter gradient's kernel that is no matrix product, where there is one for this shape."""
    if _is_depthwise(channels, groups):
        return "conv_depthwise_backward_filter"
    if channels == 1 and window.kernel in ONE_CHANNEL:
        return "conv_one_channel_backward_filter_{}x{}".format(*window.kernel)
    return None
