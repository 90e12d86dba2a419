"""Max pooling of adjacent windows in one memory pass."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.jit import compiled, wide_vectors


@compiled
def rectified(value, relu, zero):
    """max(value, 0) if `relu`; a NaN stays. `zero` is of the value's type."""
    return zero if relu and value < zero else value


@compiled
def larger(value, tap, best, arg):
    """The larger of `value` and `best`, and its tap. NaN is kept, as in np.maximum, but does not change the tap."""
    return value if value > best or np.isnan(value) else best, np.int32(tap) if value > best else arg


@compiled
def max_pool(x, kernel, y, argmax):
    """x (n, h, w, c) to y and argmax (n, p, q, c)."""
    wide_vectors()
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                if kernel[0] == 2 and kernel[1] == 2:  # in registers, far faster than the loop over taps below
                    r, q = 2 * i, 2 * j
                    for c in range(x.shape[3]):
                        best, arg = x[n, r, q, c], np.int32(0)
                        best, arg = larger(x[n, r, q + 1, c], 1, best, arg)
                        best, arg = larger(x[n, r + 1, q, c], 2, best, arg)
                        best, arg = larger(x[n, r + 1, q + 1, c], 3, best, arg)
                        y[n, i, j, c] = best
                        argmax[n, i, j, c] = arg
                    continue
                for k in range(kernel[0]):
                    row = i * kernel[0] + k
                    for l in range(kernel[1]):  # noqa: E741
                        column, tap = j * kernel[1] + l, k * kernel[1] + l
                        if tap == 0:
                            for c in range(x.shape[3]):
                                y[n, i, j, c] = x[n, row, column, c]
                                argmax[n, i, j, c] = 0
                        else:
                            for c in range(x.shape[3]):
                                best, arg = larger(
                                    x[n, row, column, c], tap, y[n, i, j, c], np.int32(argmax[n, i, j, c])
                                )
                                y[n, i, j, c] = best
                                argmax[n, i, j, c] = arg


@compiled
def max_pool_backward(dy, argmax, kernel, dx):
    """dy (n, p, q, c) to the argmax pixels of dx (n, h, w, c); zero elsewhere."""
    wide_vectors()
    zero = dy.dtype.type(0)
    p, q = dy.shape[1], dy.shape[2]
    for n in range(dx.shape[0]):
        for row in range(dx.shape[1]):
            i = row // kernel[0]
            for column in range(dx.shape[2]):
                j = column // kernel[1]
                if i < p and j < q:
                    tap = (row - i * kernel[0]) * kernel[1] + column - j * kernel[1]
                    for c in range(dx.shape[3]):
                        dx[n, row, column, c] = dy[n, i, j, c] if argmax[n, i, j, c] == tap else zero
                else:
                    for c in range(dx.shape[3]):
                        dx[n, row, column, c] = zero
