"""Winograd's transforms, tile by tile, vectorised over the channels: see `numpy_ops/winograd.py`.

The points that the transforms of F(4 x 4, 3 x 3) are built on come in pairs of one absolute value, so two rows of a
matrix share their even and their odd terms. Tiles are counted image by image, row by row; `start` is the first.
"""

from __future__ import annotations

import numpy as np

from cnn.backends.compiled_ops.jit import compiled

# Channels that a tile's transform takes at a time: an intermediate tile of 6 x 6 of them lies in the L1 cache.
CHUNK = 128


@compiled
def input_4(padded, bt, v, start):
    """B^T x B: padded (n, H, W, c) to v (36, tiles, c); bt is B^T (6, 6)."""
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

    Filters `first` to `last`, excluded, are computed.
    """
    p, q = y.shape[1], y.shape[2]
    down, across = (p + 3) // 4, (q + 3) // 4
    half = np.empty((4, 6, CHUNK), y.dtype)
    whole = np.empty((4, CHUNK), y.dtype)
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
                            at = np.uint64(begin + c)
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
                            whole[0, c] = m0 + even_a + even_b + bias
                            whole[1, c] = a1 * odd_a + b1 * odd_b + bias
                            whole[2, c] = a2 * even_a + b2 * even_b + bias
                            whole[3, c] = a3 * odd_a + b3 * odd_b + m5 + bias
                        for j in range(min(4, q - 4 * tj)):
                            for c in range(length):
                                value = whole[j, c]
                                y[n, 4 * ti + i, 4 * tj + j, np.uint64(begin + c)] = (
                                    zero if relu and value < zero else value
                                )


@compiled
def gradient_4(dy, a_, d, start):
    """A dy A^T, zeros beyond the image: dy (n, p, q, k) to d (36, tiles, k); a_ is A (6, 4)."""
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
    """A^T products A with bias (k,) and ReLU: products (16, tiles, k) to y (n, p, q, k); filters as in `output_4`."""
    p, q = y.shape[1], y.shape[2]
    down, across = (p + 1) // 2, (q + 1) // 2
    half = np.empty((2, 4, CHUNK), y.dtype)
    zero = y.dtype.type(0)
    for n in range(y.shape[0]):
        for ti in range(down):
            for tj in range(across):
                tile = start + (n * down + ti) * across + tj
                for begin in range(first, last, CHUNK):
                    length = min(CHUNK, last - begin)
                    for j in range(4):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            m0, m1 = products[j, tile, at], products[4 + j, tile, at]
                            m2, m3 = products[8 + j, tile, at], products[12 + j, tile, at]
                            half[0, j, c] = m0 + m1 + m2
                            half[1, j, c] = m1 - m2 + m3
                    for i in range(min(2, p - 2 * ti)):
                        for c in range(length):
                            at = np.uint64(begin + c)
                            value = half[i, 0, c] + half[i, 1, c] + half[i, 2, c] + b[at]
                            y[n, 2 * ti + i, 2 * tj, at] = zero if relu and value < zero else value
                        if 2 * tj + 1 < q:
                            for c in range(length):
                                at = np.uint64(begin + c)
                                value = half[i, 1, c] - half[i, 2, c] + half[i, 3, c] + b[at]
                                y[n, 2 * ti + i, 2 * tj + 1, at] = zero if relu and value < zero else value


@compiled
def gradient_2(dy, a_, d, start):
    """A dy A^T, zeros beyond the image: dy (n, p, q, k) to d (16, tiles, k)."""
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
