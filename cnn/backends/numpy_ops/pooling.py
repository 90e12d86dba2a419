"""Pooling: one pass per tap of the window, over strided views."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase, pad
from cnn.backends.window import Window
from cnn.backends.workers import pieces


class NumpyPooling(NumpyBase):
    """Max, average and global average pooling."""

    def max_pool2d(self, x: FloatArray, window: Window) -> tuple[FloatArray, FloatArray]:
        shape = (len(x), *window.output_hw, x.shape[3])
        y = self.memory.empty(shape, x.dtype)
        winner = self.memory.empty(shape, np.uint8 if window.taps <= 256 else np.int32)
        first = _first_taps(window)

        def run(piece: slice) -> None:
            padded = pad(x[piece], window, -np.inf)
            best, number = y[piece], winner[piece]
            number[...] = first
            for tap, (_, _, rows, cols) in enumerate(window.taps_in_order()):
                seen = padded[:, rows, cols]
                if tap == 0:
                    best[...] = seen
                else:
                    # Taps come in rising order, so the last one to beat its predecessors is the largest number.
                    beaten = (seen > best).view(np.uint8)
                    np.maximum(number, beaten * number.dtype.type(tap), out=number)
                    np.maximum(best, seen, out=best)

        self.workers.map(run, pieces(len(x), 1))
        return y, winner

    def max_pool2d_backward(self, dy: FloatArray, winner: FloatArray, window: Window) -> FloatArray:
        def spread(piece: slice, tap: int) -> FloatArray:
            return dy[piece] * (winner[piece] == tap)

        return self._backward(dy, window, spread)

    def avg_pool2d(self, x: FloatArray, window: Window) -> FloatArray:
        y = np.zeros((len(x), *window.output_hw, x.shape[3]), x.dtype)
        share = _shares(window, x.dtype)

        def run(piece: slice) -> None:
            padded = pad(x[piece], window, 0)
            for _, _, rows, cols in window.taps_in_order():
                y[piece] += padded[:, rows, cols]
            y[piece] *= share

        self.workers.map(run, pieces(len(x), 1))
        return y

    def avg_pool2d_backward(self, dy: FloatArray, window: Window) -> FloatArray:
        share = _shares(window, dy.dtype)
        return self._backward(dy, window, lambda piece, _: dy[piece] * share)

    def global_avg_pool2d(self, x: FloatArray) -> FloatArray:
        return x.mean(axis=(1, 2))

    def global_avg_pool2d_backward(self, dy: FloatArray, hw: tuple[int, int]) -> FloatArray:
        dx = self.memory.empty((len(dy), *hw, dy.shape[1]), dy.dtype)
        dx[...] = (dy / (hw[0] * hw[1]))[:, None, None, :]
        return dx

    def _backward(self, dy: FloatArray, window: Window, spread: Callable[[slice, int], FloatArray]) -> FloatArray:
        """Sum over taps of `spread(piece, tap)`, the gradient that each output pixel sends to that tap."""
        dx = self.memory.empty((len(dy), *window.input_hw, dy.shape[3]), dy.dtype)

        def run(piece: slice) -> None:
            padded = np.zeros((len(dy[piece]), *window.padded_hw, dy.shape[3]), dy.dtype)
            for tap, (_, _, rows, cols) in enumerate(window.taps_in_order()):
                padded[:, rows, cols] += spread(piece, tap)
            dx[piece] = padded[:, *window.inside]

        self.workers.map(run, pieces(len(dy), 1))
        return dx


def _shares(window: Window, dtype: np.dtype) -> FloatArray:
    """1 / (pixels of the image that each window sees): (p, q, 1)."""
    inside = pad(np.ones((1, *window.input_hw, 1), dtype), window, 0)
    seen = sum(inside[0, rows, cols] for _, _, rows, cols in window.taps_in_order())
    return np.reciprocal(np.maximum(seen, 1)).astype(dtype)


def _first_taps(window: Window) -> FloatArray:
    """The first tap of every output pixel's window that lies in the image, (p, q, 1): what wins if all are equal."""
    starts = []
    for axis, before in enumerate((window.padding[0], window.padding[2])):
        outside = before - np.arange(window.output_hw[axis]) * window.stride[axis]  # pixels in front of the image
        taps = -(-np.maximum(outside, 0) // window.dilation[axis])
        starts.append(np.minimum(taps, window.kernel[axis] - 1))
    return (starts[0][:, None] * window.kernel[1] + starts[1])[..., None]
