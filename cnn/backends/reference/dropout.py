"""Dropout, of elements and of whole examples, from the counter-based generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Array
from cnn.backends.philox import RandomKey, random_halves


class Dropout:
    """Inverted dropout: kept elements are scaled up, so that inference is the identity."""

    def dropout(self, x: Array, rate: float, key: RandomKey, first: int = 0) -> Array:
        """Kept elements of x times 65536 / (65536 - t), the others 0, with t = round(rate * 65536).

        Element e (C order) is kept if its 16 random bits (`philox.random_halves`) are at least t. The gradient is
        the same function of dy, so no mask is stored. x may be a part of a larger array, from its element `first` on.
        """
        threshold, scale = dropout_threshold(rate)
        kept = halves_from(key, first, x.size).reshape(x.shape) >= threshold
        return np.where(kept, x * x.dtype.type(scale), x.dtype.type(0))

    def drop_path(self, x: Array, rate: float, key: RandomKey, first: int = 0) -> Array:
        """Kept examples of x (n, ...) times 65536 / (65536 - t), the others 0, with t = round(rate * 65536).

        This is the stochastic depth of a residual branch (Huang et al. 2016). Example i is kept if the stream's 16-bit
        number i is at least t. The gradient is the same function of dy. x may be a part of a larger batch, from its
        example `first` on.
        """
        threshold, scale = dropout_threshold(rate)
        kept = halves_from(key, first, len(x)) >= threshold
        return np.where(kept.reshape(-1, *[1] * (x.ndim - 1)), x * x.dtype.type(scale), x.dtype.type(0))


def halves_from(key: RandomKey, first: int, count: int) -> NDArray[np.uint16]:
    """The stream's numbers from `first` on, which need not begin a block: (count,)."""
    before = first % 8  # of the block in which they begin
    return random_halves(key, first - before, before + count)[before:]


def dropout_threshold(rate: float) -> tuple[int, float]:
    """The 16-bit threshold below which an element is dropped, and the scale of kept elements."""
    threshold = round(rate * 65536)
    return threshold, 65536 / (65536 - threshold)
