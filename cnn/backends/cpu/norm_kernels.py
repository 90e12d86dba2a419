"""Batch normalisation, each function one memory pass: statistics and affine map, with or without max pooling after it.

`rows` are (m, c): pixels by channels. Scalars per channel are (c,).
"""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.jit import compiled, wide_vectors
from cnn.backends.cpu.pool_kernels import larger, rectified

# Rows of a partial sum; the partial sums are then added. A single sum of thousands of numbers would lose digits.
BLOCK = 32


@compiled
def running_average(running, current, momentum, rest):
    """In place: running (n,) = momentum * running + rest * current."""
    for e in range(running.shape[0]):
        running[e] = momentum * running[e] + rest * current[e]


@compiled
def statistics(rows, mean, mean_error, squares):
    """Mean of rows; the mean of the deviations from it (its rounding error); the sum of the squared deviations."""
    wide_vectors()
    count = rows.dtype.type(rows.shape[0])
    part = np.empty((2, rows.shape[1]), rows.dtype)
    mean[:] = 0
    mean_error[:] = 0
    squares[:] = 0
    for begin in range(0, rows.shape[0], BLOCK):
        part[:] = 0
        for m in range(begin, min(begin + BLOCK, rows.shape[0])):
            for c in range(rows.shape[1]):
                part[0, c] += rows[m, c]
        for c in range(rows.shape[1]):
            mean[c] += part[0, c]
    for c in range(rows.shape[1]):
        mean[c] /= count
    for begin in range(0, rows.shape[0], BLOCK):
        part[:] = 0
        for m in range(begin, min(begin + BLOCK, rows.shape[0])):
            for c in range(rows.shape[1]):
                deviation = rows[m, c] - mean[c]
                part[0, c] += deviation
                part[1, c] += deviation * deviation
        for c in range(rows.shape[1]):
            mean_error[c] += part[0, c]
            squares[c] += part[1, c]
    for c in range(rows.shape[1]):
        mean_error[c] /= count


@compiled
def merge(sizes, parts, out):
    """The moments of all rows: of parts (chunks, 3, c), what `statistics` fills for `sizes` rows each, to out (2, c).

    They merge one after the other in float64 (Chan, Golub & LeVeque 1979). Returns whether no square overflowed.
    """
    finite = True
    for c in range(out.shape[1]):
        count, mean, squares = 0.0, 0.0, 0.0
        for p in range(sizes.shape[0]):
            # The rounding error of the mean is added to the mean and taken out of the variance.
            size, left = np.float64(sizes[p]), np.float64(parts[p, 1, c])
            delta = np.float64(parts[p, 0, c]) + left - mean
            total = count + size
            mean += delta * (size / total)
            squares += np.float64(parts[p, 2, c]) - size * left * left + delta * delta * (count * size / total)
            count = total
        finite = finite and np.isfinite(squares)
        out[0, c], out[1, c] = mean, squares / count
    return finite


@compiled
def affine_scale(gamma, moments, eps, scale):
    """gamma / sqrt(variance + eps): the factor of the affine map, (c,)."""
    for c in range(gamma.shape[0]):
        scale[c] = gamma[c] / np.sqrt(moments[1, c] + eps)


@compiled
def backward_factors(sums, gamma, moments, eps, count, batch, dgamma, dbeta, factors):
    """From sums (chunks, 2, c) of dy and of dy * (x - mean): dgamma, dbeta, and the factors (3, c) of `backward`.

    With moments of the batch itself, of `count` rows, dx is
    gamma / std * (dy - mean(dy) - normalised * mean(dy * normalised)).
    """
    zero, one = gamma.dtype.type(0), gamma.dtype.type(1)
    for c in range(gamma.shape[0]):
        given, centred = zero, zero
        for p in range(sums.shape[0]):
            given += sums[p, 0, c]
            centred += sums[p, 1, c]
        inverse = one / np.sqrt(moments[1, c] + eps)
        scale = gamma[c] * inverse
        dgamma[c], dbeta[c] = centred * inverse, given
        factors[0, c] = -scale * inverse * dgamma[c] / count if batch else zero
        factors[1, c] = -scale * given / count if batch else zero
        factors[2, c] = scale


@compiled
def apply(rows, mean, scale, beta, relu, out):
    """(rows - mean) * scale + beta, then ReLU if `relu`."""
    wide_vectors()
    zero = rows.dtype.type(0)
    for m in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            value = (rows[m, c] - mean[c]) * scale[c] + beta[c]
            out[m, c] = zero if relu and value < zero else value


@compiled
def reduce(dy, rows, mean, y, relu, dbeta, dgamma):
    """Sums of dy and of dy * (rows - mean), with `relu` only where y > 0: into dbeta and dgamma (c,)."""
    wide_vectors()
    zero = rows.dtype.type(0)
    part = np.empty((2, rows.shape[1]), rows.dtype)
    dbeta[:] = 0
    dgamma[:] = 0
    for begin in range(0, rows.shape[0], BLOCK):
        part[:] = 0
        for m in range(begin, min(begin + BLOCK, rows.shape[0])):
            if relu:
                for c in range(rows.shape[1]):
                    given = dy[m, c] if y[m, c] > zero else zero
                    part[0, c] += given
                    part[1, c] += given * (rows[m, c] - mean[c])
            else:
                for c in range(rows.shape[1]):
                    part[0, c] += dy[m, c]
                    part[1, c] += dy[m, c] * (rows[m, c] - mean[c])
        for c in range(rows.shape[1]):
            dbeta[c] += part[0, c]
            dgamma[c] += part[1, c]


@compiled
def backward(dy, rows, mean, x_factor, offset, scale, y, relu, input_relu, dx):
    """dx = (rows - mean) * x_factor + offset + dy * scale.

    With `relu` dy is 0 where y <= 0; with `input_relu` dx is 0 where rows <= 0.
    """
    wide_vectors()
    zero = rows.dtype.type(0)
    for m in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            given = dy[m, c]
            if relu:
                given = given if y[m, c] > zero else zero
            value = (rows[m, c] - mean[c]) * x_factor[c] + offset[c] + given * scale[c]
            dx[m, c] = value if not input_relu or rows[m, c] > zero else zero


@compiled
def pool(x, mean, scale, beta, kernel, relu, y, argmax):
    """The affine map, then max pooling of adjacent windows: x (n, h, w, c) to y and argmax (n, p, q, c)."""
    wide_vectors()
    zero = x.dtype.type(0)
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                if kernel[0] == 2 and kernel[1] == 2:  # in registers, four times as fast as the loop over taps below
                    r, q = 2 * i, 2 * j
                    for c in range(x.shape[3]):
                        m, f, o = mean[c], scale[c], beta[c]
                        best, arg = rectified((x[n, r, q, c] - m) * f + o, relu, zero), np.int32(0)
                        best, arg = larger(rectified((x[n, r, q + 1, c] - m) * f + o, relu, zero), 1, best, arg)
                        best, arg = larger(rectified((x[n, r + 1, q, c] - m) * f + o, relu, zero), 2, best, arg)
                        best, arg = larger(rectified((x[n, r + 1, q + 1, c] - m) * f + o, relu, zero), 3, best, arg)
                        y[n, i, j, c] = best
                        argmax[n, i, j, c] = arg
                    continue
                for k in range(kernel[0]):
                    row = i * kernel[0] + k
                    for l in range(kernel[1]):  # noqa: E741
                        column, tap = j * kernel[1] + l, k * kernel[1] + l
                        if tap == 0:
                            for c in range(x.shape[3]):
                                y[n, i, j, c] = rectified(
                                    (x[n, row, column, c] - mean[c]) * scale[c] + beta[c], relu, zero
                                )
                                argmax[n, i, j, c] = 0
                        else:
                            for c in range(x.shape[3]):
                                value = rectified((x[n, row, column, c] - mean[c]) * scale[c] + beta[c], relu, zero)
                                best, arg = larger(value, tap, y[n, i, j, c], np.int32(argmax[n, i, j, c]))
                                y[n, i, j, c] = best
                                argmax[n, i, j, c] = arg


@compiled
def pool_reduce(dy, argmax, y, relu, x, mean, kernel, dbeta, dgamma):
    """Sums of dy and of dy * (x - mean) at the argmax pixels, to dbeta and dgamma (c,); if `relu` only where y > 0."""
    wide_vectors()
    zero = x.dtype.type(0)
    channels = x.shape[3]
    given = np.empty(channels, x.dtype)
    part = np.empty((2, channels), x.dtype)
    dbeta[:] = 0
    dgamma[:] = 0
    for n in range(dy.shape[0]):
        for i in range(dy.shape[1]):
            part[:] = 0
            for j in range(dy.shape[2]):
                for c in range(channels):
                    given[c] = dy[n, i, j, c]
                    if relu:
                        given[c] = given[c] if y[n, i, j, c] > zero else zero
                for c in range(channels):
                    part[0, c] += given[c]
                for k in range(kernel[0]):
                    for l in range(kernel[1]):  # noqa: E741
                        tap = k * kernel[1] + l
                        for c in range(channels):
                            at_argmax = given[c] if argmax[n, i, j, c] == tap else zero
                            part[1, c] += at_argmax * (x[n, i * kernel[0] + k, j * kernel[1] + l, c] - mean[c])
            for c in range(channels):
                dbeta[c] += part[0, c]
                dgamma[c] += part[1, c]


@compiled
def pool_backward(dy, argmax, y, relu, x, mean, x_factor, offset, scale, kernel, input_relu, dx):
    """`backward` with dy (n, p, q, c) at the argmax pixels and 0 at all other pixels."""
    wide_vectors()
    zero = x.dtype.type(0)
    p, q = dy.shape[1], dy.shape[2]
    for n in range(x.shape[0]):
        for row in range(x.shape[1]):
            i = row // kernel[0]
            for column in range(x.shape[2]):
                j = column // kernel[1]
                inside = i < p and j < q
                tap = (row - i * kernel[0]) * kernel[1] + column - j * kernel[1]
                if inside:
                    for c in range(x.shape[3]):
                        given = dy[n, i, j, c] if argmax[n, i, j, c] == tap else zero
                        if relu:
                            given = given if y[n, i, j, c] > zero else zero
                        value = (x[n, row, column, c] - mean[c]) * x_factor[c] + offset[c] + given * scale[c]
                        dx[n, row, column, c] = value if not input_relu or x[n, row, column, c] > zero else zero
                else:
                    for c in range(x.shape[3]):
                        value = (x[n, row, column, c] - mean[c]) * x_factor[c] + offset[c]
                        dx[n, row, column, c] = value if not input_relu or x[n, row, column, c] > zero else zero
