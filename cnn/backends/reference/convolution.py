"""Convolution as the sum of a matrix product per tap of the filter."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Array, Epilogue
from cnn.backends.reference.arrays import FloatArray, into, pad
from cnn.backends.reference.dense import Dense
from cnn.backends.window import Window

_NOTHING = Epilogue()


class Convolution(Dense):
    """`conv2d` and its two gradients."""

    def conv2d(
        self, x: Array, w: Array, b: Array | None, window: Window, groups: int, epilogue: Epilogue = _NOTHING
    ) -> Array:
        """Cross-correlation: x (n, h, w, c) with w (kh, kw, c / groups, k) and bias b (k,) gives (n, p, q, k).

        Filter j reads the channels of group `j // (k / groups)`; groups = c is a depthwise convolution. The epilogue's
        activation is applied to the result with its bias, and its moments are those of the returned array.
        """
        padded, taps = pad(x, window), _taps_by_group(w, groups)
        y = np.zeros((len(x), *window.output_hw, w.shape[3]), x.dtype)
        for k, l, rows, cols in window.taps_in_order():  # noqa: E741
            by_group(y, groups)[...] += by_group(padded[:, rows, cols], groups) @ taps[k, l]
        return self._finish(y, b, epilogue)

    def conv2d_backward_input(
        self, dy: Array, w: Array, window: Window, groups: int, added: Array | None = None
    ) -> Array:
        """dy (n, p, q, k) to dx (n, h, w, c), plus `added`, an array like it, if it is given."""
        channels, taps = w.shape[2] * groups, _taps_by_group(w, groups)
        padded = np.zeros((len(dy), *window.padded_hw, channels), dy.dtype)
        for k, l, rows, cols in window.taps_in_order():  # noqa: E741
            given = by_group(dy, groups) @ taps[k, l].transpose(0, 2, 1)
            padded[:, rows, cols] += given.transpose(1, 0, 2).reshape(*dy.shape[:3], channels)
        dx = np.ascontiguousarray(padded[:, *window.inside])
        return dx if added is None else dx + added

    def conv2d_backward_filter(
        self, dy: Array, x: Array, window: Window, groups: int, out: Array | None = None
    ) -> Array:
        """dy (n, p, q, k) and the input x (n, h, w, c) to dw (kh, kw, c / groups, k), in `out` if it is given."""
        padded, depth = pad(x, window), x.shape[3] // groups
        dw = np.empty((*window.kernel, depth, dy.shape[3]), x.dtype)
        for k, l, rows, cols in window.taps_in_order():  # noqa: E741
            products = by_group(padded[:, rows, cols], groups).transpose(0, 2, 1) @ by_group(dy, groups)
            dw[k, l] = products.transpose(1, 0, 2).reshape(depth, -1)
        return into(out, dw)


def by_group(y: FloatArray, groups: int) -> FloatArray:
    """y (n, p, q, c) as (groups, n * p * q, c / groups); a view where y is contiguous."""
    return y.reshape(-1, groups, y.shape[3] // groups).transpose(1, 0, 2)


def _taps_by_group(w: FloatArray, groups: int) -> FloatArray:
    """w (kh, kw, c / groups, k) as a matrix for each tap and group: (kh, kw, groups, c / groups, k / groups)."""
    return w.reshape(*w.shape[:3], groups, -1).transpose(0, 1, 3, 2, 4)
