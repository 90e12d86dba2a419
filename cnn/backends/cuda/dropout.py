"""Dropout, of elements and of whole examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.cuda.arrays import CudaArrays, named
from cnn.backends.philox import RandomKey
from cnn.backends.reference.dropout import dropout_threshold


class CudaDropout(CudaArrays):
    """Kernels in `cnn/kernels/dropout.cu`."""

    multiply: Callable[[Array, Array], Array]

    def dropout(self, x: Array, rate: float, key: RandomKey, first: int = 0) -> Array:
        if first:  # the kernels draw from the beginning of the stream
            kept = CudaDropout.dropout(self, self._ones(first + x.size, x), rate, key)[first:]
            return self._times(x, kept.reshape(x.shape))
        y, seed = self.empty(x.shape, x.dtype), seed_words(key.seed)
        self.launch(named("dropout", x), x, y, key.step, y.size, *dropout_threshold(rate), *seed, key.stream)
        return y

    def drop_path(self, x: Array, rate: float, key: RandomKey, first: int = 0) -> Array:
        if first:
            kept = CudaDropout.drop_path(self, self._ones(first + len(x), x).reshape(-1, 1), rate, key)[first:]
            return self._times(x, kept.reshape(-1, *[1] * (x.ndim - 1)))
        y, seed = self.empty(x.shape, x.dtype), seed_words(key.seed)
        numbers = len(x), x.size // len(x), *dropout_threshold(rate), *seed, key.stream
        self.launch(named("drop_path", x), x, y, key.step, *numbers)
        return y

    def _ones(self, count: int, like: Array) -> Array:
        """Ones (count,) of the type of `like`."""
        ones = self.array(np.ones(count, np.float32))
        return ones if like.dtype == np.float32 else self.stored(ones, "bfloat16")

    def _times(self, x: Array, kept: Array) -> Array:
        """x times `kept`, spread over its shape."""
        factors = self.empty(x.shape, x.dtype)  # of its own: a part of an array is not aligned as kernels expect
        factors[...] = kept
        return self.multiply(x, factors)


def seed_words(seed: int) -> tuple[int, int]:
    """The seed as the two 32-bit words of the generator's key, the low one first."""
    return seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
