"""The L2 penalty in one compiled memory pass; the loss itself, a few numbers per image, runs the reference."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu import elementwise_kernels as kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray


class CpuLosses(CpuArrays):
    """`l2_penalty` and its gradient."""

    def l2_penalty(self, w: FloatArray, coefficient: float) -> FloatArray:
        return np.asarray(sum(self.in_place(kernels.sum_of_squares, w)) * coefficient, w.dtype)

    def l2_penalty_backward(self, w: FloatArray, coefficient: float, dw: FloatArray) -> None:
        factor = w.dtype.type(2 * coefficient)
        self.in_place(lambda some, out: kernels.add_scaled(some, factor, out), w, dw)
