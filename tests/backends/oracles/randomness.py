"""Philox, and by it dropout of elements and of whole examples."""

from __future__ import annotations

import functools

import numpy as np


def philox4x32_10(counter, key):
    """Four 32-bit words of a counter of four words and a key of two: section 3.3 of the paper, word by word."""
    (x0, x1, x2, x3), (k0, k1) = counter, key
    for bumps in range(10):
        key0, key1 = (k0 + bumps * 0x9E3779B9) % 2**32, (k1 + bumps * 0xBB67AE85) % 2**32
        high0, low0 = divmod(0xD2511F53 * x0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x2, 2**32)
        x0, x1, x2, x3 = high1 ^ x1 ^ key0, low1, high0 ^ x3 ^ key1, low0
    return x0, x1, x2, x3


@functools.cache
def random_words(seed, stream, step, blocks):
    """The words of the first blocks of a stream, as the contract numbers them."""
    words = []
    for block in range(blocks):
        words += philox4x32_10((block, stream, step % 2**32, step // 2**32), (seed % 2**32, seed // 2**32))
    return words


def random_halves(key, count):
    """The first `count` 16-bit numbers of the stream that `key` names."""
    words = random_words(key.seed, key.stream, int(key.step[0]), -(-count // 8))
    return [half for word in words for half in (word % 2**16, word // 2**16)][:count]


def random_uniform(seed, stream, step, count):
    """Numbers in [0, 1), a word each."""
    return [word / 2**32 for word in random_words(seed, stream, step, -(-count // 4))][:count]


def dropout(x, rate, key):
    threshold = round(rate * 65536)
    kept = np.array([half >= threshold for half in random_halves(key, x.size)]).reshape(x.shape)
    return (np.where(kept, x * 65536 / (65536 - threshold), 0.0),)


def drop_path(x, rate, key):
    y, threshold = np.zeros(x.shape), round(rate * 65536)
    for i, half in enumerate(random_halves(key, len(x))):
        if half >= threshold:
            y[i] = x[i] * 65536 / (65536 - threshold)
    return (y,)
