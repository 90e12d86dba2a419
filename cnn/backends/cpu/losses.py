"""The L2 penalty in one compiled memory pass; softmax cross-entropy row by row in one compiled loop."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu import elementwise_kernels as kernels
from cnn.backends.cpu import loss_kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray


class CpuLosses(CpuArrays):
    """`cross_entropy` with its gradient, `l2_penalty` and its gradient."""

    def cross_entropy(
        self,
        logits: FloatArray,
        labels: FloatArray,
        class_weights: FloatArray,
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        totals: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        counted = len(labels) if ignore_index is None else int(np.count_nonzero(labels != ignore_index))
        (rows, classes), kind = logits.shape, logits.dtype.type
        dlogits, sums = np.empty_like(logits), np.zeros(2)
        done = rows * classes > 0 and loss_kernels.cross_entropy(
            *(logits, labels, class_weights, kind(1 - smoothing + smoothing / classes), kind(smoothing / classes)),
            *(ignore_index is not None, ignore_index or 0, kind(max(counted, 1)), dlogits, sums),
        )
        if not done:  # a label that is no class: the reference raises its error
            return super().cross_entropy(logits, labels, class_weights, smoothing, ignore_index, totals)
        loss = np.asarray(sums[0], logits.dtype)
        if totals is not None:
            totals += (float(loss) * counted, sums[1], counted)
        return loss, dlogits

    def l2_penalty(self, w: FloatArray, coefficient: float) -> FloatArray:
        return np.asarray(sum(self.in_place(kernels.sum_of_squares, w)) * coefficient, w.dtype)

    def l2_penalty_backward(self, w: FloatArray, coefficient: float, dw: FloatArray) -> None:
        factor = w.dtype.type(2 * coefficient)
        self.in_place(lambda some, out: kernels.add_scaled(some, factor, out), w, dw)
