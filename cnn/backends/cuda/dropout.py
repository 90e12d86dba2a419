"""Dropout, of elements and of whole examples."""

from __future__ import annotations

from cnn.backends.blocks import Array
from cnn.backends.cuda.arrays import CudaArrays, named
from cnn.backends.philox import RandomKey
from cnn.backends.reference.dropout import dropout_threshold


class CudaDropout(CudaArrays):
    """Kernels in `cnn/kernels/dropout.cu`."""

    def dropout(self, x: Array, rate: float, key: RandomKey) -> Array:
        y, seed = self.empty(x.shape, x.dtype), seed_words(key.seed)
        self.launch(named("dropout", x), x, y, key.step, y.size, *dropout_threshold(rate), *seed, key.stream)
        return y

    def drop_path(self, x: Array, rate: float, key: RandomKey) -> Array:
        y, seed = self.empty(x.shape, x.dtype), seed_words(key.seed)
        numbers = len(x), x.size // len(x), *dropout_threshold(rate), *seed, key.stream
        self.launch(named("drop_path", x), x, y, key.step, *numbers)
        return y


def seed_words(seed: int) -> tuple[int, int]:
    """The seed as the two 32-bit words of the generator's key, the low one first."""
    return seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
