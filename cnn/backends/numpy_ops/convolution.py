"""Convolution as matrix products over unrolled windows (im2col), and the dense layer.

A piece of a few images is unrolled at a time, so that its columns are still in the cache when the product reads
them, and the memory taken does not grow with the batch.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase, by_channel, column_sum, pad
from cnn.backends.window import Window
from cnn.backends.workers import pieces

# Bytes of unrolled windows per piece. Measured on a core with 512 KB of L2 and 32 MB of shared L3: from 1 to 4 MB
# makes no difference, below that the products get too small, above it the columns leave the cache.
_COLUMN_BYTES = 2 << 20
# Partial sums of a filter gradient: fixed, so that the order of summation does not depend on the threads.
_PARTIAL_SUMS = 8


class NumpyConvolution(NumpyBase):
    """`conv2d`, `dense` and their gradients."""

    def conv2d(
        self, x: FloatArray, w: FloatArray, b: FloatArray | None, window: Window, groups: int, relu: bool = False
    ) -> FloatArray:
        y = np.empty((len(x), *window.output_hw, w.shape[3]), x.dtype)
        matrices = _filter_matrices(w, groups)

        def run(piece: slice) -> None:
            if _is_depthwise(w, groups):
                _depthwise(pad(x[piece], window), w, window, y[piece])
            else:
                columns = _unroll(pad(x[piece], window), window, groups)
                np.matmul(columns, matrices, out=_by_group(y[piece], groups))
            if b is not None:
                y[piece] += b
            if relu:
                np.maximum(y[piece], 0, out=y[piece])

        self.workers.map(run, _image_pieces(x, window))
        return y

    def conv2d_backward_input(self, dy: FloatArray, w: FloatArray, window: Window, groups: int) -> FloatArray:
        back = window.transposed()
        if back is not None:
            return self.conv2d(dy, _flip_filter(w, groups), None, back, groups)
        # With a stride the gradient is no plain convolution: spread each window's gradient over the pixels it saw.
        channels = w.shape[2] * groups
        dx = np.empty((len(dy), *window.input_hw, channels), dy.dtype)
        matrices = _filter_matrices(w, groups).transpose(0, 2, 1)

        def run(piece: slice) -> None:
            columns = np.matmul(_by_group(dy[piece], groups), matrices)  # (groups, rows, taps * c / groups)
            dx[piece] = _roll_up(columns, len(dy[piece]), window, channels)

        self.workers.map(run, _image_pieces(dx, window))
        return dx

    def conv2d_backward_filter(self, dy: FloatArray, x: FloatArray, window: Window, groups: int) -> FloatArray:
        channels, filters = x.shape[3], dy.shape[3]
        small = _image_pieces(x, window)
        step = small[0].stop

        def run(share: slice) -> FloatArray:
            total = np.zeros((groups, window.taps * channels // groups, filters // groups), x.dtype)
            for start in range(share.start, share.stop, step):
                piece = slice(start, min(start + step, share.stop))
                columns = _unroll(pad(x[piece], window), window, groups)
                total += np.matmul(columns.transpose(0, 2, 1), _by_group(dy[piece], groups))
            return total

        partial = self.workers.map(run, pieces(len(x), -(-len(x) // _PARTIAL_SUMS)))
        dw = np.add.reduce(partial).reshape(groups, *window.kernel, channels // groups, filters // groups)
        return np.ascontiguousarray(dw.transpose(1, 2, 3, 0, 4)).reshape(*window.kernel, channels // groups, filters)

    def bias_backward(self, dy: FloatArray) -> FloatArray:
        rows = by_channel(dy)
        sums = self.workers.map(lambda piece: column_sum(rows[piece]), self.channel_pieces(*rows.shape))
        return np.add.reduce(sums)

    def dense(self, x: FloatArray, w: FloatArray, b: FloatArray | None, relu: bool = False) -> FloatArray:
        y = x @ w
        if b is not None:
            y += b
        if relu:
            np.maximum(y, 0, out=y)
        return y

    def dense_backward_input(self, dy: FloatArray, w: FloatArray) -> FloatArray:
        return dy @ w.T

    def dense_backward_filter(self, dy: FloatArray, x: FloatArray) -> FloatArray:
        return x.T @ dy


def _image_pieces(x: FloatArray, window: Window) -> list[slice]:
    """Cut the batch of x (n, h, w, c) so that a piece's unrolled windows fill `_COLUMN_BYTES`."""
    one = window.output_hw[0] * window.output_hw[1] * window.taps * x.shape[3] * x.itemsize
    # An eighth of the batch at most, so that a net of small layers still has work for every core.
    return pieces(len(x), min(max(1, _COLUMN_BYTES // one), -(-len(x) // 8)))


def _unroll(padded: FloatArray, window: Window, groups: int) -> FloatArray:
    """Im2col: padded images (n, H, W, c) to (groups, n * p * q, taps * c / groups)."""
    n, channels = len(padded), padded.shape[3]
    rows = n * window.output_hw[0] * window.output_hw[1]
    s_n, s_h, s_w, s_c = padded.strides
    windows = as_strided(
        padded,
        (n, *window.output_hw, *window.kernel, groups, channels // groups),
        (
            s_n,
            s_h * window.stride[0],
            s_w * window.stride[1],
            s_h * window.dilation[0],
            s_w * window.dilation[1],
            s_c * (channels // groups),
            s_c,
        ),
        writeable=False,
    )
    return windows.transpose(5, 0, 1, 2, 3, 4, 6).reshape(groups, rows, window.taps * channels // groups)


def _roll_up(columns: FloatArray, n: int, window: Window, channels: int) -> FloatArray:
    """Col2im, the adjoint of `_unroll`: columns (groups, n * p * q, taps * c / groups) summed to (n, h, w, c)."""
    groups = len(columns)
    windows = columns.reshape(groups, n, *window.output_hw, *window.kernel, channels // groups)
    padded = np.zeros((n, *window.padded_hw, groups, channels // groups), columns.dtype)
    for k, l, rows, cols in window.taps_in_order():  # noqa: E741
        padded[:, rows, cols] += windows[:, :, :, :, k, l].transpose(1, 2, 3, 0, 4)
    return padded[:, *window.inside].reshape(n, *window.input_hw, channels)


def _by_group(y: FloatArray, groups: int) -> FloatArray:
    """A view of y (n, p, q, k) as (groups, n * p * q, k / groups)."""
    return y.reshape(-1, groups, y.shape[3] // groups).transpose(1, 0, 2)


def _filter_matrices(w: FloatArray, groups: int) -> FloatArray:
    """w (kh, kw, c / groups, k) as one matrix a group: (groups, taps * c / groups, k / groups)."""
    rows = w.shape[0] * w.shape[1] * w.shape[2]
    return np.ascontiguousarray(w.reshape(rows, groups, -1).transpose(1, 0, 2))


def _flip_filter(w: FloatArray, groups: int) -> FloatArray:
    """The filter of the transposed convolution: taps reversed, inputs and outputs exchanged within each group."""
    kh, kw, depth, filters = w.shape
    grouped = w[::-1, ::-1].reshape(kh, kw, depth, groups, filters // groups)
    return np.ascontiguousarray(grouped.transpose(0, 1, 4, 3, 2)).reshape(kh, kw, filters // groups, depth * groups)


def _is_depthwise(w: FloatArray, groups: int) -> bool:
    """One input channel per group: the products would be a single column wide, so taps are added up instead."""
    return groups > 1 and w.shape[2] == 1


def _depthwise(padded: FloatArray, w: FloatArray, window: Window, y: FloatArray) -> None:
    """Depthwise convolution of padded (n, H, W, c) with w (kh, kw, 1, c * m) into y (n, p, q, c * m)."""
    channels = padded.shape[3]
    taps = w.reshape(*window.kernel, channels, -1)
    total = y.reshape(*y.shape[:3], channels, -1)
    total[...] = 0
    for k, l, rows, cols in window.taps_in_order():  # noqa: E741
        total += padded[:, rows, cols, :, None] * taps[k, l]
