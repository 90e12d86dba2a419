"""Depthwise convolution: each channel has filters of its own, so its numbers are used a few times only.

With one filter a channel, and few enough taps, a vector of channels goes along a row of pixels, and its weights, or the
sums of their gradient, stay in registers meanwhile. Other filters are applied tap by tap. Arrays are C-contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cnn.backends.cpu.jit import compiled, wide_vectors
from cnn.backends.cpu.llvm import INTEGER, Vectors, constant, data
from cnn.backends.cpu.vectors import Zeros, host_tile

_UNIT, _MOST_TAPS = 16, 9


def taps_and_vector(kernel: tuple[int, int], channels: int, itemsize: int) -> tuple[Zeros, Zeros, Zeros] | None:
    """The rows and columns of a filter and the vector, in units of 16 bytes, for functions that read their lengths.

    The vector is the widest of the processor that divides the channels. None if there is none, or too many taps.
    """
    units = host_tile().vector_bytes // _UNIT
    while units and channels * itemsize % (units * _UNIT):
        units //= 2
    return ((0,) * kernel[0], (0,) * kernel[1], (0,) * units) if units and kernel[0] * kernel[1] <= _MOST_TAPS else None


def _places(builder: Any, rows: int, columns: int, at: Any, row_step: Any, tap_step: Any) -> list[Any]:
    """Where the taps of the first window of a row lie."""
    return [
        builder.add(at, builder.add(builder.mul(row_step, constant(k)), builder.mul(tap_step, constant(l))))
        for k in range(rows)
        for l in range(columns)  # noqa: E741
    ]


@intrinsic
def _filter_row(
    _context: Any,
    filter_: Any,
    x: Any,
    at: Any,
    row_step: Any,
    tap_step: Any,
    step: Any,
    w: Any,
    w_at: Any,
    w_step: Any,
    y: Any,
    y_at: Any,
    y_step: Any,
    count: Any,
) -> Any:
    """A vector of `count` windows of flat x, `step` apart from `at` on, times the taps of flat w, into flat y.

    The rows of a window are `row_step` apart and its columns `tap_step`, taps `w_step`, results `y_step`.
    """
    signature = types.void(filter_, x, at, row_step, tap_step, step, w, w_at, w_step, y, y_at, y_step, count)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        rows, columns, units = (each.count for each in signature.args[0])
        vector = Vectors(builder, context.get_data_type(signature.args[1].dtype), _UNIT * units)
        source = data(context, builder, signature.args[1], given[1], constant(0))
        weights = data(context, builder, signature.args[6], given[6], given[7])
        target = data(context, builder, signature.args[9], given[9], given[10])
        places = _places(builder, rows, columns, *given[2:5])
        taps = [vector.load(weights, builder.mul(given[8], constant(tap))) for tap in range(rows * columns)]
        with cgutils.for_range(builder, given[12], intp=INTEGER) as loop:
            moved, total = builder.mul(loop.index, given[5]), vector.zero
            for place, tap in zip(places, taps, strict=True):
                total = vector.multiply_add(vector.load(source, builder.add(place, moved)), tap, total)
            vector.store(total, target, builder.mul(loop.index, given[11]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _gradient_row(
    _context: Any,
    filter_: Any,
    x: Any,
    at: Any,
    row_step: Any,
    tap_step: Any,
    step: Any,
    dy: Any,
    dy_at: Any,
    dy_step: Any,
    dw: Any,
    dw_at: Any,
    dw_step: Any,
    count: Any,
) -> Any:
    """Add to the taps of flat dw the sums over `count` windows, as those of `_filter_row`, times flat dy."""
    signature = types.void(filter_, x, at, row_step, tap_step, step, dy, dy_at, dy_step, dw, dw_at, dw_step, count)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        rows, columns, units = (each.count for each in signature.args[0])
        vector = Vectors(builder, context.get_data_type(signature.args[1].dtype), _UNIT * units)
        source = data(context, builder, signature.args[1], given[1], constant(0))
        gradients = data(context, builder, signature.args[6], given[6], given[7])
        target = data(context, builder, signature.args[9], given[9], given[10])
        places = _places(builder, rows, columns, *given[2:5])
        sums = [cgutils.alloca_once(builder, vector.type) for _ in places]
        for each in sums:
            builder.store(vector.zero, each)
        with cgutils.for_range(builder, given[12], intp=INTEGER) as loop:
            moved = builder.mul(loop.index, given[5])
            gradient = vector.load(gradients, builder.mul(loop.index, given[8]))
            for place, total in zip(places, sums, strict=True):
                value = vector.load(source, builder.add(place, moved))
                builder.store(vector.multiply_add(value, gradient, builder.load(total)), total)
        for tap, total in enumerate(sums):
            at = builder.mul(given[11], constant(tap))
            vector.store(builder.fadd(vector.load(target, at), builder.load(total)), target, at)
        return context.get_dummy_value()

    return signature, generate


@compiled
def by_vectors(filter_, padded, w, stride, dilation, y):
    """As `by_taps` for one output a channel, w (kh, kw, c); `filter_` is what `taps_and_vector` returned."""
    n_images, height, width, channels = padded.shape
    lanes = len(filter_[2]) * _UNIT // y.itemsize
    x, weights, out = padded.reshape(-1), w.reshape(-1), y.reshape(-1)
    p, q = y.shape[1], y.shape[2]
    for n in range(n_images):
        for i in range(p):
            at, to = (n * height + i * stride[0]) * width * channels, (n * p + i) * q * channels
            for c in range(0, channels, lanes):
                _filter_row(
                    filter_,
                    x,
                    at + c,
                    dilation[0] * width * channels,
                    dilation[1] * channels,
                    stride[1] * channels,
                    weights,
                    c,
                    channels,
                    out,
                    to + c,
                    channels,
                    q,
                )


@compiled
def gradient_by_vectors(filter_, padded, dy, stride, dilation, dw):
    """As `gradient_by_taps` for one output a channel, dw (kh, kw, c)."""
    n_images, height, width, channels = padded.shape
    lanes = len(filter_[2]) * _UNIT // dy.itemsize
    x, given, out = padded.reshape(-1), dy.reshape(-1), dw.reshape(-1)
    p, q = dy.shape[1], dy.shape[2]
    out[:] = 0
    for n in range(n_images):
        for i in range(p):
            at, given_at = (n * height + i * stride[0]) * width * channels, (n * p + i) * q * channels
            for c in range(0, channels, lanes):
                _gradient_row(
                    filter_,
                    x,
                    at + c,
                    dilation[0] * width * channels,
                    dilation[1] * channels,
                    stride[1] * channels,
                    given,
                    given_at + c,
                    channels,
                    out,
                    c,
                    channels,
                    q,
                )


@compiled
def by_taps(padded, w, stride, dilation, y):
    """Padded (n, H, W, c) with a filter for each of m outputs of a channel, w (kh, kw, c, m), to y (n, p, q, c * m)."""
    wide_vectors()
    channels, outputs = w.shape[2], w.shape[3]
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                y[n, i, j] = 0
                for k in range(w.shape[0]):
                    for l in range(w.shape[1]):  # noqa: E741
                        row, column = i * stride[0] + k * dilation[0], j * stride[1] + l * dilation[1]
                        if outputs == 1:
                            for c in range(channels):
                                y[n, i, j, c] += padded[n, row, column, c] * w[k, l, c, 0]
                        else:
                            for c in range(channels):
                                for m in range(outputs):
                                    y[n, i, j, c * outputs + m] += padded[n, row, column, c] * w[k, l, c, m]


@compiled
def gradient_by_taps(padded, dy, stride, dilation, dw):
    """The filter's gradient dw (kh, kw, c, m) for dy (n, p, q, c * m); a row of pixels is summed up by itself."""
    wide_vectors()
    channels, outputs = dw.shape[2], dw.shape[3]
    part = np.empty((channels, outputs), dw.dtype)
    dw[:] = 0
    for n in range(dy.shape[0]):
        for i in range(dy.shape[1]):
            for k in range(dw.shape[0]):
                for l in range(dw.shape[1]):  # noqa: E741
                    part[:] = 0
                    for j in range(dy.shape[2]):
                        row, column = i * stride[0] + k * dilation[0], j * stride[1] + l * dilation[1]
                        if outputs == 1:
                            for c in range(channels):
                                part[c, 0] += padded[n, row, column, c] * dy[n, i, j, c]
                        else:
                            for c in range(channels):
                                for m in range(outputs):
                                    part[c, m] += padded[n, row, column, c] * dy[n, i, j, c * outputs + m]
                    for c in range(channels):
                        for m in range(outputs):
                            dw[k, l, c, m] += part[c, m]


@compiled
def input_gradient(dy, w, stride, dilation, top, left, dx):
    """The input's gradient dx (n, h, w, c) for dy (n, p, q, c * m) and w (kh, kw, c, m), for any stride.

    Every pixel gathers from the windows that see it; `top` and `left` are the padding.
    """
    wide_vectors()
    channels, outputs = w.shape[2], w.shape[3]
    for n in range(dx.shape[0]):
        for row in range(dx.shape[1]):
            for column in range(dx.shape[2]):
                dx[n, row, column] = 0
                for k in range(w.shape[0]):
                    i = row + top - k * dilation[0]
                    if i < 0 or i % stride[0] != 0 or i // stride[0] >= dy.shape[1]:
                        continue
                    for l in range(w.shape[1]):  # noqa: E741
                        j = column + left - l * dilation[1]
                        if j < 0 or j % stride[1] != 0 or j // stride[1] >= dy.shape[2]:
                            continue
                        p, q = i // stride[0], j // stride[1]
                        if outputs == 1:
                            for c in range(channels):
                                dx[n, row, column, c] += dy[n, p, q, c] * w[k, l, c, 0]
                        else:
                            for c in range(channels):
                                for m in range(outputs):
                                    dx[n, row, column, c] += dy[n, p, q, c * outputs + m] * w[k, l, c, m]
