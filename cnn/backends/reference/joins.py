"""Joins of branches: sums, products, concatenations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnn.backends.blocks import Array


class Joins:
    """Element-wise sums and products, and concatenation of channels."""

    def add(self, a: Array, b: Array) -> Array:
        """a + b for equal shapes (the join of a residual connection)."""
        return a + b

    def multiply(self, a: Array, b: Array) -> Array:
        """a * b for equal shapes, or for a (n, h, w, c) and a gate b (n, c) that is the same for every pixel."""
        return a * _beside(a, b)

    def multiply_backward(self, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """Gradients (da like a, db like b) for dy like a."""
        da, db = dy * _beside(a, b), dy * a
        return da, db if a.shape == b.shape else db.sum(axis=(1, 2), dtype=np.float64).astype(dy.dtype)

    def concat(self, parts: Sequence[Array]) -> Array:
        """Arrays (..., c_i) concatenated along their channels: (..., sum of c_i)."""
        return np.concatenate(parts, axis=-1)

    def split(self, x: Array, sizes: Sequence[int]) -> list[Array]:
        """x (..., c) split into arrays of `sizes` channels, which sum to c: the inverse and gradient of `concat`."""
        ends = np.cumsum(sizes)
        return [x[..., end - size : end].copy() for size, end in zip(sizes, ends, strict=True)]


def _beside(a: Array, b: Array) -> Array:
    return b if a.shape == b.shape else b[:, None, None, :]
