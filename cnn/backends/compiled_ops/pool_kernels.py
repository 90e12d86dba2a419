"""Max pooling with windows side by side, in one walk over memory."""

from __future__ import annotations

import numpy as np

from cnn.backends.compiled_ops.jit import compiled


@compiled
def max_pool(x, kernel, y, winner):
    """x (n, h, w, c) to y and winner (n, p, q, c)."""
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
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
                                value, best, won = x[n, row, column, c], y[n, i, j, c], winner[n, i, j, c]
                                # A NaN stays, as it does in np.maximum.
                                y[n, i, j, c] = value if value > best or np.isnan(value) else best
                                winner[n, i, j, c] = tap if value > best else won


@compiled
def max_pool_backward(dy, winner, kernel, dx):
    """dy (n, p, q, c) to the winners in dx (n, h, w, c), zero elsewhere."""
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
