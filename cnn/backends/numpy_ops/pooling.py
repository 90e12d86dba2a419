"""Pooling: one pass per tap of the window, over strided views."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase
from cnn.backends.window import Window
from cnn.backends.workers import pieces


class NumpyPooling(NumpyBase):
    """Max, average and global average pooling."""

    def max_pool2d(self, x: FloatArray, window: Window) -> tuple[FloatArray, FloatArray]:
        shape = (len(x), *window.output_hw, x.shape[3])
        y = np.empty(shape, x.dtype)
        winner = np.zeros(shape, np.uint8 if window.taps <= 256 else np.int32)

        def run(piece: slice) -> None:
            padded = _pad(x[piece], window, -np.inf)
            best, number = y[piece], winner[piece]
            for tap, rows, cols in _taps(window):
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
            padded = _pad(x[piece], window, 0)
            for _, rows, cols in _taps(window):
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
        dx = np.empty((len(dy), *hw, dy.shape[1]), dy.dtype)
        dx[...] = (dy / (hw[0] * hw[1]))[:, None, None, :]
        return dx

    def _backward(self, dy: FloatArray, window: Window, spread) -> FloatArray:  # type: ignore[no-untyped-def]
        """Sum over taps of `spread(piece, tap)`, the gradient that each output pixel sends to that tap."""
        dx = np.empty((len(dy), *window.input_hw, dy.shape[3]), dy.dtype)
        top, _, left, _ = window.padding
        height, width = window.input_hw

        def run(piece: slice) -> None:
            padded = np.zeros((len(dy[piece]), *window.padded_hw, dy.shape[3]), dy.dtype)
            for tap, rows, cols in _taps(window):
                padded[:, rows, cols] += spread(piece, tap)
            dx[piece] = padded[:, top : top + height, left : left + width]

        self.workers.map(run, pieces(len(dy), 1))
        return dx


def _taps(window: Window) -> Iterator[tuple[int, slice, slice]]:
    """(number, rows, columns) of every tap, row by row."""
    for k in range(window.kernel[0]):
        for l in range(window.kernel[1]):  # noqa: E741
            yield k * window.kernel[1] + l, *window.tap(k, l)


def _pad(x: FloatArray, window: Window, value: float) -> FloatArray:
    if not window.has_padding:
        return x
    top, bottom, left, right = window.padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _shares(window: Window, dtype: np.dtype) -> FloatArray:
    """1 / (pixels of the image that each window sees): (p, q, 1)."""
    inside = _pad(np.ones((1, *window.input_hw, 1), dtype), window, 0)
    seen = sum(inside[0, rows, cols] for _, rows, cols in _taps(window))
    return np.reciprocal(np.maximum(seen, 1)).astype(dtype)
