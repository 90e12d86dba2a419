"""Winograd's transforms, tile by tile, vectorised over the channels: see `winograd.py`.

The points that the transforms of F(4 x 4, 3 x 3) are built on come in pairs of one absolute value, so two rows of a
matrix share their even and their odd terms. Tiles are counted image by image, row by row; `start` is the first.
"""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.jit import compiled, wide_vectors
from cnn.backends.cpu.product_kernels import (
    line_numbers,
    pack_plain,
    pack_transposed,
)

# Channels that a tile's transform takes at a time: an intermediate tile of 6 x 6 of them lies in the L1 cache.
CHUNK = 128


@compiled
def filters(tile, w, depth, count, flipped, g, columns, terms, blocks, packed, step):
    """G w G^T of flat w (3, 3, depth, count), or of its flip, in packed blocks of columns; g is G (t, 3).

    The blocks from blocks[0] to blocks[1], excluded, fill `packed`, (blocks, terms, numbers of the tile's line) for
    each of the t * t elements, which are `step` numbers apart.
    """
    wide_vectors()
    t, width = g.shape[0], line_numbers(tile, w)
    lines = max(1, CHUNK // width)
    taps, half = np.empty(9 * lines * width, w.dtype), np.empty((t, 3, lines * width), w.dtype)
    for block in range(blocks[0], blocks[1]):
        column, some = block * width, min(width, columns - block * width)
        for begin in range(0, terms, lines):
            number = min(lines, terms - begin)
            size, to = number * width, ((block - blocks[0]) * terms + begin) * width
            for tap in range(9):
                if flipped:
                    source = ((8 - tap) * depth + column) * count + begin
                    pack_transposed(w, source, count, number, some, width, taps, tap * size, number)
                else:
                    source = (tap * depth + begin) * count + column
                    pack_plain(tile, w, source, count, number, some, width, taps, tap * size)
            for l in range(3):  # noqa: E741
                x0, x1, x2 = taps[l * size :], taps[(3 + l) * size :], taps[(6 + l) * size :]
                for i in range(size):
                    half[0, l, i] = g[0, 0] * x0[i]
                    half[t - 1, l, i] = x2[i]
                for r in range(1, t - 1, 2):
                    a, b, c = g[r, 0], g[r, 1], g[r, 2]
                    for i in range(size):
                        even, odd = a * x0[i] + c * x2[i], b * x1[i]
                        half[r, l, i] = even + odd
                        half[r + 1, l, i] = even - odd
            for r in range(t):
                first, last = packed[r * t * step + to :], packed[(r * t + t - 1) * step + to :]
                for i in range(size):
                    first[i] = g[0, 0] * half[r, 0, i]
                    last[i] = half[r, 2, i]
                for q in range(1, t - 1, 2):
                    plus, minus = packed[(r * t + q) * step + to :], packed[(r * t + q + 1) * step + to :]
                    a, b, c = g[q, 0], g[q, 1], g[q, 2]
                    for i in range(size):
                        even, odd = a * half[r, 0, i] + c * half[r, 2, i], b * half[r, 1, i]
                        plus[i] = even + odd
                        minus[i] = even - odd


@compiled
def filter_gradient(total, g, dw, column, first, last):
    """G^T total G in rows `first` to `last`, excluded: total (t * t, c, columns) to dw (9, c, k) from `column` on."""
    wide_vectors()
    t = g.shape[0]
    half = np.empty((3, t, CHUNK), dw.dtype)
    for row in range(first, last):
        for begin in range(0, total.shape[2], CHUNK):
            size = min(CHUNK, total.shape[2] - begin)
            for q in range(t):
                for i in range(size):
                    at = np.uint64(begin + i)
                    half[0, q, i] = g[0, 0] * total[q, row, at]
                    half[1, q, i] = 0
                    half[2, q, i] = total[(t - 1) * t + q, row, at]
                for r in range(1, t - 1, 2):
                    a, b, c = g[r, 0], g[r, 1], g[r, 2]
                    for i in range(size):
                        at = np.uint64(begin + i)
                        plus, minus = total[r * t + q, row, at], total[(r + 1) * t + q, row, at]
                        half[0, q, i] += a * (plus + minus)
                        half[1, q, i] += b * (plus - minus)
                        half[2, q, i] += c * (plus + minus)
            for k in range(3):
                for i in range(size):
                    at = np.uint64(column + begin + i)
                    dw[3 * k, row, at] = g[0, 0] * half[k, 0, i]
                    dw[3 * k + 1, row, at] = 0
                    dw[3 * k + 2, row, at] = half[k, t - 1, i]
                for q in range(1, t - 1, 2):
                    a, b, c = g[q, 0], g[q, 1], g[q, 2]
                    for i in range(size):
                        at = np.uint64(column + begin + i)
                        plus, minus = half[k, q, i], half[k, q + 1, i]
                        dw[3 * k, row, at] += a * (plus + minus)
                        dw[3 * k + 1, row, at] += b * (plus - minus)
                        dw[3 * k + 2, row, at] += c * (plus + minus)


@compiled
def input_4(padded, bt, v, start):
    """B^T x B: padded (n, H, W, c) to v (36, tiles, c); bt is B^T (6, 6)."""
    wide_vectors()
    channels = padded.shape[3]
    down, across = (padded.shape[1] - 2) // 4, (padded.shape[2] - 2) // 4
    half = np.empty((6, 6, CHUNK), padded.dtype)
    p2, s3 = bt[0, 2], bt[5, 3]
    a1, a2, a3 = bt[1, 1], bt[1, 2], bt[1, 3]
    b1, b2, b3 = bt[3, 1], bt[3, 2], bt[3, 3]
    for n in range(padded.shape[0]):
        for ti in range(down):
            for tj in range(across):
                tile, q = start + (n * down + ti) * across + tj, 4 * tj
                for begin in range(0, channels, CHUNK):
                    length = min(CHUNK, channels - begin)
                    for i in range(6):
                        r = 4 * ti + i
                        for c in range(length):
                            at = np.uint64(begin + c)
                            x0, x1, x2 = padded[n, r, q, at], padded[n, r, q + 1, at], padded[n, r, q + 2, at]
                            x3, x4, x5 = padded[n, r, q + 3, at], padded[n, r, q + 4, at], padded[n, r, q + 5, at]
                            even_a, odd_a = x4 + a2 * x2, a1 * x1 + a3 * x3
                            even_b, odd_b = x4 + b2 * x2, b1 * x1 + b3 * x3
                            half[i, 0, c] = x0 + p2 * x2 + x4
                            half[i, 1, c] = even_a + odd_a
                            half[i, 2, c] = even_a - odd_a
                            half[i, 3, c] = even_b + odd_b
                            half[i, 4, c] = even_b - odd_b
                            half[i, 5, c] = x1 + s3 * x3 + x5
                    for j in range(6):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            x0, x1, x2 = half[0, j, c], half[1, j, c], half[2, j, c]
                            x3, x4, x5 = half[3, j, c], half[4, j, c], half[5, j, c]
                            even_a, odd_a = x4 + a2 * x2, a1 * x1 + a3 * x3
                            even_b, odd_b = x4 + b2 * x2, b1 * x1 + b3 * x3
                            v[j, tile, at] = x0 + p2 * x2 + x4
                            v[6 + j, tile, at] = even_a + odd_a
                            v[12 + j, tile, at] = even_a - odd_a
                            v[18 + j, tile, at] = even_b + odd_b
                            v[24 + j, tile, at] = even_b - odd_b
                            v[30 + j, tile, at] = x1 + s3 * x3 + x5


@compiled
def output_4(products, at_, b, relu, y, start, first, last):
    """A^T products A with bias (k,) and ReLU: products (36, tiles, k) to y (n, p, q, k); at_ is A^T (4, 6).

    Filters `first` to `last`, excluded, are computed, all that `products` has. Returns whether all are finite.
    """
    wide_vectors()
    p, q = y.shape[1], y.shape[2]
    down, across = (p + 3) // 4, (q + 3) // 4
    half = np.empty((4, 6, CHUNK), y.dtype)
    whole = np.empty((4, CHUNK), y.dtype)
    zeros = np.zeros(CHUNK, y.dtype)  # of finite numbers less themselves
    zero = y.dtype.type(0)
    a1, a2, a3 = at_[1, 1], at_[2, 1], at_[3, 1]
    b1, b2, b3 = at_[1, 3], at_[2, 3], at_[3, 3]
    for n in range(y.shape[0]):
        for ti in range(down):
            for tj in range(across):
                tile = start + (n * down + ti) * across + tj
                for begin in range(first, last, CHUNK):
                    length = min(CHUNK, last - begin)
                    for j in range(6):
                        for c in range(length):
                            at = np.uint64(begin - first + c)
                            m0, m1, m2 = products[j, tile, at], products[6 + j, tile, at], products[12 + j, tile, at]
                            m3, m4 = products[18 + j, tile, at], products[24 + j, tile, at]
                            m5 = products[30 + j, tile, at]
                            even_a, odd_a, even_b, odd_b = m1 + m2, m1 - m2, m3 + m4, m3 - m4
                            half[0, j, c] = m0 + even_a + even_b
                            half[1, j, c] = a1 * odd_a + b1 * odd_b
                            half[2, j, c] = a2 * even_a + b2 * even_b
                            half[3, j, c] = a3 * odd_a + b3 * odd_b + m5
                    for i in range(min(4, p - 4 * ti)):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            m0, m1, m2 = half[i, 0, c], half[i, 1, c], half[i, 2, c]
                            m3, m4, m5 = half[i, 3, c], half[i, 4, c], half[i, 5, c]
                            even_a, odd_a, even_b, odd_b = m1 + m2, m1 - m2, m3 + m4, m3 - m4
                            bias = b[at]
                            y0, y1 = m0 + even_a + even_b + bias, a1 * odd_a + b1 * odd_b + bias
                            y2, y3 = a2 * even_a + b2 * even_b + bias, a3 * odd_a + b3 * odd_b + m5 + bias
                            whole[0, c], whole[1, c], whole[2, c], whole[3, c] = y0, y1, y2, y3
                            total = (y0 + y1) + (y2 + y3)
                            zeros[c] += total - total
                        for j in range(min(4, q - 4 * tj)):
                            for c in range(length):
                                value = whole[j, c]
                                y[n, 4 * ti + i, 4 * tj + j, np.uint64(begin + c)] = (
                                    zero if relu and value < zero else value
                                )
    return not np.isnan(zeros).any()


@compiled
def gradient_4(dy, a_, d, start):
    """A dy A^T, zeros beyond the image: dy (n, p, q, k) to d (36, tiles, k); a_ is A (6, 4)."""
    wide_vectors()
    p, q, filters = dy.shape[1], dy.shape[2], dy.shape[3]
    down, across = (p + 3) // 4, (q + 3) // 4
    whole = np.zeros((4, 4, CHUNK), dy.dtype)
    half = np.empty((4, 6, CHUNK), dy.dtype)
    a1, a2, a3 = a_[1, 1], a_[1, 2], a_[1, 3]
    b1, b2, b3 = a_[3, 1], a_[3, 2], a_[3, 3]
    for n in range(dy.shape[0]):
        for ti in range(down):
            for tj in range(across):
                tile = start + (n * down + ti) * across + tj
                for begin in range(0, filters, CHUNK):
                    length = min(CHUNK, filters - begin)
                    for i in range(4):
                        for j in range(4):
                            if 4 * ti + i < p and 4 * tj + j < q:
                                for c in range(length):
                                    whole[i, j, c] = dy[n, 4 * ti + i, 4 * tj + j, np.uint64(begin + c)]
                            else:
                                for c in range(length):
                                    whole[i, j, c] = 0
                    for i in range(4):
                        for c in range(length):
                            x0, x1, x2, x3 = whole[i, 0, c], whole[i, 1, c], whole[i, 2, c], whole[i, 3, c]
                            even_a, odd_a = x0 + a2 * x2, a1 * x1 + a3 * x3
                            even_b, odd_b = x0 + b2 * x2, b1 * x1 + b3 * x3
                            half[i, 0, c] = x0
                            half[i, 1, c] = even_a + odd_a
                            half[i, 2, c] = even_a - odd_a
                            half[i, 3, c] = even_b + odd_b
                            half[i, 4, c] = even_b - odd_b
                            half[i, 5, c] = x3
                    for j in range(6):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            x0, x1, x2, x3 = half[0, j, c], half[1, j, c], half[2, j, c], half[3, j, c]
                            even_a, odd_a = x0 + a2 * x2, a1 * x1 + a3 * x3
                            even_b, odd_b = x0 + b2 * x2, b1 * x1 + b3 * x3
                            d[j, tile, at] = x0
                            d[6 + j, tile, at] = even_a + odd_a
                            d[12 + j, tile, at] = even_a - odd_a
                            d[18 + j, tile, at] = even_b + odd_b
                            d[24 + j, tile, at] = even_b - odd_b
                            d[30 + j, tile, at] = x3


# F(2 x 2, 3 x 3), on the points 0, 1 and -1. Its matrices hold only 0, 1, -1 and are written out; they are those of
# `transforms(2)`, as a test sees to. The matrix arguments are there for the signature alone.


@compiled
def input_2(padded, bt, v, start):
    """B^T x B: padded (n, H, W, c) to v (16, tiles, c)."""
    wide_vectors()
    channels = padded.shape[3]
    down, across = (padded.shape[1] - 2) // 2, (padded.shape[2] - 2) // 2
    half = np.empty((4, 4, CHUNK), padded.dtype)
    for n in range(padded.shape[0]):
        for ti in range(down):
            for tj in range(across):
                tile, q = start + (n * down + ti) * across + tj, 2 * tj
                for begin in range(0, channels, CHUNK):
                    length = min(CHUNK, channels - begin)
                    for i in range(4):
                        r = 2 * ti + i
                        for c in range(length):
                            at = np.uint64(begin + c)
                            x0, x1 = padded[n, r, q, at], padded[n, r, q + 1, at]
                            x2, x3 = padded[n, r, q + 2, at], padded[n, r, q + 3, at]
                            half[i, 0, c] = x2 - x0
                            half[i, 1, c] = x2 + x1
                            half[i, 2, c] = x2 - x1
                            half[i, 3, c] = x3 - x1
                    for j in range(4):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            x0, x1, x2, x3 = half[0, j, c], half[1, j, c], half[2, j, c], half[3, j, c]
                            v[j, tile, at] = x2 - x0
                            v[4 + j, tile, at] = x2 + x1
                            v[8 + j, tile, at] = x2 - x1
                            v[12 + j, tile, at] = x3 - x1


@compiled
def output_2(products, at_, b, relu, y, start, first, last):
    """A^T products A with bias (k,) and ReLU: products (16, tiles, k) to y (n, p, q, k); otherwise as `output_4`."""
    wide_vectors()
    p, q = y.shape[1], y.shape[2]
    down, across = (p + 1) // 2, (q + 1) // 2
    half = np.empty((2, 4, CHUNK), y.dtype)
    zeros = np.zeros(CHUNK, y.dtype)
    zero = y.dtype.type(0)
    for n in range(y.shape[0]):
        for ti in range(down):
            for tj in range(across):
                tile = start + (n * down + ti) * across + tj
                for begin in range(first, last, CHUNK):
                    length = min(CHUNK, last - begin)
                    for j in range(4):
                        for c in range(length):
                            at = np.uint64(begin - first + c)
                            m0, m1 = products[j, tile, at], products[4 + j, tile, at]
                            m2, m3 = products[8 + j, tile, at], products[12 + j, tile, at]
                            half[0, j, c] = m0 + m1 + m2
                            half[1, j, c] = m1 - m2 + m3
                    for i in range(min(2, p - 2 * ti)):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            value = half[i, 0, c] + half[i, 1, c] + half[i, 2, c] + b[at]
                            zeros[c] += value - value
                            y[n, 2 * ti + i, 2 * tj, at] = zero if relu and value < zero else value
                        if 2 * tj + 1 < q:
                            for c in range(length):
                                at = np.uint64(begin + c)
                                value = half[i, 1, c] - half[i, 2, c] + half[i, 3, c] + b[at]
                                zeros[c] += value - value
                                y[n, 2 * ti + i, 2 * tj + 1, at] = zero if relu and value < zero else value
    return not np.isnan(zeros).any()


@compiled
def gradient_2(dy, a_, d, start):
    """A dy A^T, zeros beyond the image: dy (n, p, q, k) to d (16, tiles, k)."""
    wide_vectors()
    p, q, filters = dy.shape[1], dy.shape[2], dy.shape[3]
    down, across = (p + 1) // 2, (q + 1) // 2
    whole = np.zeros((2, 2, CHUNK), dy.dtype)
    half = np.empty((2, 4, CHUNK), dy.dtype)
    for n in range(dy.shape[0]):
        for ti in range(down):
            for tj in range(across):
                tile = start + (n * down + ti) * across + tj
                for begin in range(0, filters, CHUNK):
                    length = min(CHUNK, filters - begin)
                    for i in range(2):
                        for j in range(2):
                            if 2 * ti + i < p and 2 * tj + j < q:
                                for c in range(length):
                                    whole[i, j, c] = dy[n, 2 * ti + i, 2 * tj + j, np.uint64(begin + c)]
                            else:
                                for c in range(length):
                                    whole[i, j, c] = 0
                    for i in range(2):
                        for c in range(length):
                            x0, x1 = whole[i, 0, c], whole[i, 1, c]
                            half[i, 0, c] = x0
                            half[i, 1, c] = x0 + x1
                            half[i, 2, c] = x0 - x1
                            half[i, 3, c] = x1
                    for j in range(4):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            x0, x1 = half[0, j, c], half[1, j, c]
                            d[j, tile, at] = x0
                            d[4 + j, tile, at] = x0 + x1
                            d[8 + j, tile, at] = x0 - x1
                            d[12 + j, tile, at] = x1


INPUT = {2: input_2, 4: input_4}
OUTPUT = {2: output_2, 4: output_4}
GRADIENT = {2: gradient_2, 4: gradient_4}
