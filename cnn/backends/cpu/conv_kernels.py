"""Passes over memory around a convolution's products. The arguments are those of `ConvKit`.

Where an index of an innermost loop is a sum, it is cast to unsigned: of a signed one the compiler must suppose that it
may count from the end, and then it reads element by element.
"""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.jit import compiled, wide_vectors
from cnn.backends.cpu.norm_kernels import BLOCK

_SHORT_RUN = 8  # numbers


@compiled
def pad(x, top, left, padded):
    """Fill padded (n, H, W * c) with the rows of x (n, h, w * c); `left` counts elements."""
    wide_vectors()
    height, wide = x.shape[1], min(x.shape[2], padded.shape[2] - left)
    for n in range(padded.shape[0]):
        for i in range(padded.shape[1]):
            row = i - top
            if row < 0 or row >= height:
                for e in range(padded.shape[2]):
                    padded[n, i, e] = 0
            else:
                for e in range(left):
                    padded[n, i, e] = 0
                for e in range(wide):
                    padded[n, i, np.uint64(left + e)] = x[n, row, e]
                for e in range(left + wide, padded.shape[2]):
                    padded[n, i, e] = 0


@compiled
def unroll(padded, stride, step, runs, kernel_rows, row_dilation, q, columns):
    """Im2col without groups: padded (n, H, W * c) to columns (n * p * q, kh * kw * c).

    Of each row that a window sees, `runs` runs of equally many neighbouring numbers are taken, `step` numbers apart;
    windows are `stride` (rows, numbers) apart.
    """
    wide_vectors()
    n_images = padded.shape[0]
    p = columns.shape[0] // (n_images * q)
    length = columns.shape[1] // (kernel_rows * runs)
    for n in range(n_images):
        for i in range(p):
            for k in range(kernel_rows):
                row = i * stride[0] + k * row_dilation
                if length < _SHORT_RUN:  # pixel by pixel in the inner loop: a run would end before it is under way
                    for run in range(runs):
                        for e in range(length):
                            begin, at = run * step + e, (k * runs + run) * length + e
                            for j in range(q):
                                columns[(n * p + i) * q + j, at] = padded[n, row, np.uint64(j * stride[1] + begin)]
                    continue
                for j in range(q):
                    to = (n * p + i) * q + j
                    for run in range(runs):
                        begin, at = j * stride[1] + run * step, (k * runs + run) * length
                        for e in range(length):
                            columns[to, np.uint64(at + e)] = padded[n, row, np.uint64(begin + e)]


@compiled
def finish(rows, b, has_bias, relu, first, last):
    """In place, columns `first` to `last`, excluded: rows (m, k) plus bias (k,), then max(rows, 0)."""
    wide_vectors()
    zero = rows.dtype.type(0)
    for m in range(rows.shape[0]):
        if has_bias:
            for k in range(np.uint64(first), np.uint64(last)):
                value = rows[m, k] + b[k]
                rows[m, k] = zero if relu and value < zero else value
        else:
            for k in range(np.uint64(first), np.uint64(last)):
                value = rows[m, k]
                rows[m, k] = zero if value < zero else value


@compiled
def column_sums(rows, total):
    """The sum of rows (m, k) over m into total (k,), 32 rows at a time: see `norm_kernels.BLOCK`."""
    wide_vectors()
    part = np.empty(rows.shape[1], rows.dtype)
    total[:] = 0
    for begin in range(0, rows.shape[0], BLOCK):
        part[:] = 0
        for m in range(begin, min(begin + BLOCK, rows.shape[0])):
            for k in range(rows.shape[1]):
                part[k] += rows[m, k]
        for k in range(rows.shape[1]):
            total[k] += part[k]
