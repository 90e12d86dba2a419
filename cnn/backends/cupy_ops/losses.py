"""Losses, penalties, counts."""

from __future__ import annotations

import numpy as np

from cnn.backends.cupy_ops.base import CupyBase
from cnn.backends.cupy_ops.normalization import column_sums
from cnn.backends.ops import Array
from cnn.kernels.families.losses import penalty_blocks


class CupyLosses(CupyBase):
    """Kernels in `cnn/kernels/losses.cu`."""

    def softmax(self, logits: Array) -> Array:
        y = self.empty(logits.shape)
        self.launch("softmax", logits, y, *logits.shape)
        return y

    def soft_targets(self, labels: Array, classes: int, smoothing: float, like: Array) -> Array:
        targets = self.empty((len(labels), classes), like.dtype)
        self.launch("soft_targets", labels, targets, smoothing / classes, 1 - smoothing, classes, targets.size)
        return targets

    def softmax_cross_entropy(self, logits: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        n = len(logits)
        row_losses, dlogits = self.empty((n,)), self.empty(logits.shape)
        self.launch("softmax_cross_entropy", logits, targets, weights, row_losses, dlogits, *logits.shape)
        return column_sums(self, row_losses, n, 1).reshape(()), dlogits

    def l2_penalty(self, w: Array, coefficient: float) -> Array:
        blocks = penalty_blocks(w.size)
        partials = self.empty((blocks,))
        self.launch("l2_penalty", w, partials, coefficient, w.size)
        return (partials if blocks == 1 else column_sums(self, partials, blocks, 1)).reshape(())

    def l2_penalty_backward(self, w: Array, coefficient: float, dw: Array) -> None:
        self.launch("l2_penalty_backward", w, dw, 2 * coefficient, w.size)

    def count_correct(self, logits: Array, labels: Array) -> Array:
        correct = self.xp.zeros((), np.int32)
        self.launch("count_correct", logits, labels, correct, *logits.shape)
        return correct
