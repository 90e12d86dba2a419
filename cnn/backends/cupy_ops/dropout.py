"""Dropout."""

from __future__ import annotations

import numpy as np

from cnn.backends.cupy_ops.base import CupyBase
from cnn.backends.numpy_ops.dropout import dropout_threshold
from cnn.backends.ops import Array
from cnn.backends.philox import RandomKey


class CupyDropout(CupyBase):
    """Kernels in `cnn/kernels/dropout.cu`."""

    def dropout(self, x: Array, rate: float, key: RandomKey) -> tuple[Array, Array]:
        threshold, scale = dropout_threshold(rate)
        y, mask = self.empty(x.shape), self.empty(x.shape, np.uint8)
        self.launch("dropout", x, y, mask, y.size, threshold, scale, *_words(key))
        return y, mask

    def dropout_backward(self, dy: Array, mask: Array, rate: float) -> Array:
        _, scale = dropout_threshold(rate)
        dx = self.empty(dy.shape)
        self.launch("dropout_backward", dy, mask, dx, scale, dx.size)
        return dx


def _words(key: RandomKey) -> tuple[int, ...]:
    """The key as the 32-bit words that the generator takes: seed low and high, stream, step low and high."""
    return *_halves(key.seed), key.stream, *_halves(key.step)


def _halves(number: int) -> tuple[int, int]:
    return number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF
