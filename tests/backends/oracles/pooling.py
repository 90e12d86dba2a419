"""Pooling, window by window."""

from __future__ import annotations

import math

import numpy as np

from backends.seen import seen


def max_pool2d(x, window):
    shape = (len(x), *window.output_hw, x.shape[3])
    y, argmax = np.empty(shape), np.empty(shape, int)
    for i, j, values, numbers in _windows(x, window):
        y[:, i, j], argmax[:, i, j] = values.max(axis=0), numbers[values.argmax(axis=0)]  # argmax: the first of equals
    return y, argmax


def avg_pool2d(x, window, count_padding=False):
    y = np.empty((len(x), *window.output_hw, x.shape[3]))
    for i, j, values, _ in _windows(x, window):
        y[:, i, j] = values.sum(axis=0) / (_counted(window, i, j) if count_padding else len(values))
    return (y,)


def global_avg_pool2d(x):
    n, h, w, c = x.shape
    return (np.array([[math.fsum(x[i, :, :, j].reshape(-1)) / (h * w) for j in range(c)] for i in range(n)]),)


def smallest_gap(x, window) -> float:
    """The least difference between the largest two values of a window; equal ones count as one."""
    least = math.inf
    for _, _, values, _ in _windows(x, window):
        below = np.where(values < values.max(axis=0), values, -np.inf).max(axis=0)
        least = min(least, float((values.max(axis=0) - below).min()))
    return least


def _windows(x, window):
    """(i, j, what output pixel (i, j) sees (taps, n, c), the taps' numbers)."""
    for i in range(window.output_hw[0]):
        for j in range(window.output_hw[1]):
            taps = list(seen(window, i, j))
            values = np.stack([x[:, row, column] for _, _, row, column in taps])
            yield i, j, values, np.array([k * window.kernel[1] + m for k, m, _, _ in taps])


def _counted(window, i: int, j: int) -> int:
    """The taps of output pixel (i, j) that see the image or its padding, but nothing beyond."""
    (top, bottom, left, right), (height, width) = window.padding, window.input_hw
    rows = [i * window.stride[0] + k * window.dilation[0] - top for k in range(window.kernel[0])]
    columns = [j * window.stride[1] + m * window.dilation[1] - left for m in range(window.kernel[1])]
    return sum(row < height + bottom for row in rows) * sum(column < width + right for column in columns)
