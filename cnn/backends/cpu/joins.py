"""Sums and products of branches, in chunks on all cores."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.arrays import CpuArrays, FloatArray


class CpuJoins(CpuArrays):
    """Joins of arrays of one shape; gates run the reference."""

    def add(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return self.elementwise(np.add, a, b)

    def multiply(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return self.elementwise(np.multiply, a, b) if a.shape == b.shape else super().multiply(a, b)
