"""Max pooling with windows side by side, in one walk over memory."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.jit import compiled, wide_vectors


@compiled
def rectified(value, relu, zero):
    """max(value, 0) if `relu`; a NaN stays. `zero` is of the value's type."""
    return zero if relu and value < zero else value


@compiled
def challenge(value, tap, best, won):
    """The larger of value and best, and whose it is. A NaN stays, as it does in np.maximum, and wins nothing."""
    return value if value > best or np.isnan(value) else best, np.int32(tap) if value > best else won


@compiled
def max_pool(x, kernel, y, winner):
    """x (n, h, w, c) to y and winner (n, p, q, c)."""
    wide_vectors()
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                if kernel[0] == 2 and kernel[1] == 2:  # in registers, far faster than the loop over taps below
                    r, q = 2 * i, 2 * j
                    for c in range(x.shape[3]):
                        best, won = x[n, r, q, c], np.int32(0)
                        best, won = challenge(x[n, r, q + 1, c], 1, best, won)
                        best, won = challenge(x[n, r + 1, q, c], 2, best, won)
                        best, won = challenge(x[n, r + 1, q + 1, c], 3, best, won)
                        y[n, i, j, c] = best
                        winner[n, i, j, c] = won
                    continue
                for k in range(kernel[0]):
                    row = i * kernel[0] + k
                    for l in range(kernel[1]):  # noqa: E741
                        column, tap = j * kernel[1] + l, k * kernel[1] + l
                        if tap == 0:
                            for c in range(x.shape[3]):
                                y[n, i, j, c] = x[n, row, column, c]
                                winner[n, i, j, c] = 0
                        else:
                            for c in range(x.shape[3]):
                                best, won = challenge(
                                    x[n, row, column, c], tap, y[n, i, j, c], np.int32(winner[n, i, j, c])
                                )
                                y[n, i, j, c] = best
                                winner[n, i, j, c] = won


@compiled
def max_pool_backward(dy, winner, kernel, dx):
    """dy (n, p, q, c) to the winners in dx (n, h, w, c), zero elsewhere."""
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
                        dx[n, row, column, c] = dy[n, i, j, c] if winner[n, i, j, c] == tap else zero
                else:
                    for c in range(dx.shape[3]):
                        dx[n, row, column, c] = zero
