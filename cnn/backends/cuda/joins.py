"""Joins of branches: sums, products, concatenations."""

from __future__ import annotations

from collections.abc import Sequence

from cnn.backends.blocks import Array
from cnn.backends.cuda.arrays import CudaArrays, named, rows_and_channels


class CudaJoins(CudaArrays):
    """Kernels in `cnn/kernels/joins.cu`."""

    def add(self, a: Array, b: Array) -> Array:
        y = self.empty(a.shape, a.dtype)
        self.launch(named("add", a), a, b, y, y.size)
        return y

    def multiply(self, a: Array, b: Array) -> Array:
        y = self.empty(a.shape, a.dtype)
        if a.shape == b.shape:
            self.launch(named("multiply", a), a, b, y, y.size)
        else:
            self.launch(named("multiply_gate", a), a, b, y, *_sizes(a))
        return y

    def multiply_backward(self, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
        if a.shape == b.shape:
            return self.multiply(dy, b), self.multiply(dy, a)
        db = self.empty(b.shape, b.dtype)
        self.launch(named("gate_backward", a), dy, a, db, *_sizes(a))
        return self.multiply(dy, b), db

    def concat(self, parts: Sequence[Array]) -> Array:
        c = sum(part.shape[-1] for part in parts)
        y = self.empty((*parts[0].shape[:-1], c), parts[0].dtype)
        first = 0
        for part in parts:
            rows, channels = rows_and_channels(part)
            self.launch(named("copy_channels", part), part, y, rows, channels, channels, 0, c, first)
            first += channels
        return y

    def split(self, x: Array, sizes: Sequence[int]) -> list[Array]:
        rows, c = rows_and_channels(x)
        parts, first = [], 0
        for channels in sizes:
            part = self.empty((*x.shape[:-1], channels), x.dtype)
            self.launch(named("copy_channels", x), x, part, rows, channels, c, first, channels, 0)
            parts.append(part)
            first += channels
        return parts


def _sizes(x: Array) -> tuple[int, int, int]:
    """Images, pixels of an image and channels of x (n, h, w, c)."""
    n, h, w, c = x.shape
    return n, h * w, c
