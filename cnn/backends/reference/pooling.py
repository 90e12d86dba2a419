"""Pooling: one pass over a strided view per tap of the window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.reference.arrays import FloatArray, pad
from cnn.backends.window import Window


class Pooling:
    """Max, average and global average pooling."""

    def max_pool2d(self, x: Array, window: Window) -> tuple[Array, Array]:
        """x (n, h, w, c) to y (n, p, q, c) and argmax (n, p, q, c) uint8 or int32: taps numbered row by row.

        Padding is never the maximum. The argmax is the first of equal taps.
        """
        padded = pad(x, window, -np.inf)
        y = np.full((len(x), *window.output_hw, x.shape[3]), -np.inf, x.dtype)
        argmax = np.empty(y.shape, np.uint8 if window.taps <= 256 else np.int32)
        argmax[...] = _first_taps(window)
        for tap, (_, _, rows, cols) in enumerate(window.taps_in_order()):
            seen = padded[:, rows, cols]
            argmax[seen > y] = tap
            y = np.maximum(y, seen)
        return y, argmax

    def max_pool2d_backward(self, dy: Array, argmax: Array, window: Window) -> Array:
        """dy (n, p, q, c) and the argmax of the forward pass to dx (n, h, w, c)."""
        return _spread(dy, window, lambda tap: np.where(argmax == tap, dy, 0))

    def avg_pool2d(self, x: Array, window: Window, count_padding: bool = False) -> Array:
        """x (n, h, w, c) to the mean of each window: (n, p, q, c).

        The divisor is the number of the window's pixels inside the image; with `count_padding` also of those in the
        padding (PyTorch's `count_include_pad`), but never of those that `ceil` adds beyond it.
        """
        padded = pad(x, window)
        y = np.zeros((len(x), *window.output_hw, x.shape[3]), x.dtype)
        for _, _, rows, cols in window.taps_in_order():
            y += padded[:, rows, cols]
        return y / divisors(window, count_padding).astype(x.dtype)

    def avg_pool2d_backward(self, dy: Array, window: Window, count_padding: bool = False) -> Array:
        """dy (n, p, q, c) to dx (n, h, w, c)."""
        spread = dy / divisors(window, count_padding).astype(dy.dtype)
        return _spread(dy, window, lambda _: spread)

    def global_avg_pool2d(self, x: Array) -> Array:
        """x (n, h, w, c) to the mean over all pixels: (n, c)."""
        return x.mean(axis=(1, 2), dtype=np.float64).astype(x.dtype)

    def global_avg_pool2d_backward(self, dy: Array, hw: tuple[int, int]) -> Array:
        """dy (n, c) to dx (n, h, w, c) for an input of `hw` pixels."""
        dx = np.empty((len(dy), *hw, dy.shape[1]), dy.dtype)
        dx[...] = (dy / (hw[0] * hw[1]))[:, None, None, :]
        return dx


def _spread(dy: FloatArray, window: Window, given: Callable[[int], FloatArray]) -> FloatArray:
    """The sum over taps of `given(tap)`, the gradient of each output pixel for that tap: dx (n, h, w, c)."""
    padded = np.zeros((len(dy), *window.padded_hw, dy.shape[3]), dy.dtype)
    for tap, (_, _, rows, cols) in enumerate(window.taps_in_order()):
        padded[:, rows, cols] += given(tap)
    return np.ascontiguousarray(padded[:, *window.inside])


def divisors(window: Window, count_padding: bool) -> FloatArray:
    """The number of pixels in the mean of each window, at least 1: (p, q, 1)."""
    counted = np.zeros((*window.padded_hw, 1))
    (top, bottom, left, right), (below, beside) = window.padding, window.overhang
    rows, cols = window.padded_hw
    if count_padding:
        counted[: rows - below, : cols - beside] = 1
    else:
        counted[top : rows - below - bottom, left : cols - beside - right] = 1
    seen = sum(counted[rows, cols] for _, _, rows, cols in window.taps_in_order())
    return np.maximum(seen, 1)


def _first_taps(window: Window) -> FloatArray:
    """The first tap of every output pixel's window inside the image, (p, q, 1): the argmax if all are equal."""
    starts = []
    for axis, before in enumerate((window.padding[0], window.padding[2])):
        outside = before - np.arange(window.output_hw[axis]) * window.stride[axis]  # pixels before the image
        taps = -(-np.maximum(outside, 0) // window.dilation[axis])
        starts.append(np.minimum(taps, window.kernel[axis] - 1))
    return (starts[0][:, None] * window.kernel[1] + starts[1])[..., None]
