"""Philox4x32-10: random numbers as a pure function of a counter and a key.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The generator has no state, so a
GPU thread draws the same number for an element as NumPy does here, a resumed run continues exactly, and the order of
evaluation does not matter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, the Weyl constants of the paper
_ROUNDS = 10
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class RandomKey(NamedTuple):
    """The key of a stream of random numbers; an element is determined by the key and its index.

    The step is the first element of an array of the backend, so that a captured graph reads it at each replay.
    """

    seed: int  # of the run, 64 bits
    stream: int  # of the consumer: a layer's number in its model, or a named stream of the training loop; 32 bits
    step: Any  # int64 (1,) or longer, such as the clock of a training loop


def philox4x32(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Ten rounds of Philox on counters (n, 4) uint32 with a key of two 32-bit words; returns (n, 4) uint32."""
    # Words are in 64-bit lanes, so that one multiplication gives both halves of each product.
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (product1 >> _WORD) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _WORD) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def random_words(key: RandomKey, first_block: int, blocks: int) -> NDArray[np.uint32]:
    """Blocks `first_block ...` of the stream `key`, as (blocks, 4) uint32.

    The counter of block b is (b, stream, step low, step high); the Philox key is (seed low, seed high).
    """
    counter = np.empty((blocks, 4), dtype=np.uint32)
    counter[:, 0] = np.arange(first_block, first_block + blocks, dtype=np.uint64) & _LOW
    counter[:, 1] = key.stream
    step = int(key.step[0])
    counter[:, 2] = step & 0xFFFFFFFF
    counter[:, 3] = step >> 32 & 0xFFFFFFFF
    return philox4x32(counter, (key.seed & 0xFFFFFFFF, key.seed >> 32 & 0xFFFFFFFF))


def random_halves(key: RandomKey, first: int, count: int) -> NDArray[np.uint16]:
    """Elements `first ... first + count` of the stream as 16-bit numbers, (count,) uint16.

    Element e is half `e % 8` of block `e // 8`: its words in order, the low half of a word before its high half.
    `first` must be a multiple of 8.
    """
    words = random_words(key, first // 8, -(-count // 8))
    halves = np.stack([words & np.uint32(0xFFFF), words >> np.uint32(16)], axis=2)
    return halves.reshape(-1)[:count].astype(np.uint16)


def random_uniform(key: RandomKey, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1), one 32-bit word each, as float64."""
    words = random_words(key, 0, -(-count // 4)).reshape(-1)[:count]
    return words.astype(np.float64) * 2.0**-32
