"""Dropout from the counter-based generator."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.philox import RandomKey, random_halves


class Dropout:
    """Inverted dropout: what is kept is scaled up, so that inference needs nothing."""

    def dropout(self, x: Array, rate: float, key: RandomKey) -> Array:
        """x where it is kept, scaled by 65536 / (65536 - t), else 0, with t = round(rate * 65536).

        Element e (C order) is kept where its 16 random bits (`philox.random_halves`) are at least t. The gradient is
        the same function of dy, so no mask is stored.
        """
        threshold, scale = dropout_threshold(rate)
        kept = random_halves(key, 0, x.size).reshape(x.shape) >= threshold
        return np.where(kept, x * x.dtype.type(scale), x.dtype.type(0))


def dropout_threshold(rate: float) -> tuple[int, float]:
    """The 16-bit threshold below which an element is dropped, and the scale of what is kept."""
    threshold = round(rate * 65536)
    return threshold, 65536 / (65536 - threshold)
