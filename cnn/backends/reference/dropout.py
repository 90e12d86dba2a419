"""Dropout, of elements and of whole examples, from the counter-based generator."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.philox import RandomKey, random_halves


class Dropout:
    """Inverted dropout: kept elements are scaled up, so that inference is the identity."""

    def dropout(self, x: Array, rate: float, key: RandomKey) -> Array:
        """Kept elements of x times 65536 / (65536 - t), the others 0, with t = round(rate * 65536).

        Element e (C order) is kept if its 16 random bits (`philox.random_halves`) are at least t. The gradient is
        the same function of dy, so no mask is stored.
        """
        threshold, scale = dropout_threshold(rate)
        kept = random_halves(key, 0, x.size).reshape(x.shape) >= threshold
        return np.where(kept, x * x.dtype.type(scale), x.dtype.type(0))

    def drop_path(self, x: Array, rate: float, key: RandomKey) -> Array:
        """Kept examples of x (n, ...) times 65536 / (65536 - t), the others 0, with t = round(rate * 65536).

        This is the stochastic depth of a residual branch (Huang et al. 2016). Example i is kept if the stream's 16-bit
        number i is at least t. The gradient is the same function of dy.
        """
        threshold, scale = dropout_threshold(rate)
        kept = random_halves(key, 0, len(x)) >= threshold
        return np.where(kept.reshape(-1, *[1] * (x.ndim - 1)), x * x.dtype.type(scale), x.dtype.type(0))


def dropout_threshold(rate: float) -> tuple[int, float]:
    """The 16-bit threshold below which an element is dropped, and the scale of kept elements."""
    threshold = round(rate * 65536)
    return threshold, 65536 / (65536 - threshold)
