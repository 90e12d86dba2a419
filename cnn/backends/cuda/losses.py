"""The loss: softmax cross-entropy, and the L2 penalty."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.cuda.arrays import CudaArrays
from cnn.backends.cuda.normalization import column_sums
from cnn.kernels.families.updates import sum_blocks


class CudaLosses(CudaArrays):
    """Kernels in `cnn/kernels/losses.cu`. Logits are float32."""

    def softmax(self, logits: Array) -> Array:
        y = self.floats(*logits.shape)
        self.launch("softmax", logits, y, *logits.shape)
        return y

    def cross_entropy(
        self,
        logits: Array,
        labels: Array,
        class_weights: Array,
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        totals: Array | None = None,
    ) -> tuple[Array, Array]:
        """As in the reference; a label that is neither a class nor `ignore_index` gives NaN."""
        n = len(logits)
        row_losses, outcomes, dlogits = self.floats(n), self.empty((n,), np.uint8), self.floats(*logits.shape)
        ignoring, loss = (0, 0) if ignore_index is None else (1, ignore_index), self.floats()
        self.launch(
            "cross_entropy",
            *(logits, labels, class_weights, row_losses, outcomes, dlogits, loss, totals, self.counters(1)),
            *(*logits.shape, smoothing, *ignoring),
        )
        return loss, dlogits

    def soft_cross_entropy(
        self,
        logits: Array,
        targets: Array,
        class_weights: Array,
        smoothing: float = 0.0,
        totals: Array | None = None,
    ) -> tuple[Array, Array]:
        n, loss = len(logits), self.floats()
        row_losses, outcomes, dlogits = self.floats(n), self.empty((n,), np.uint8), self.floats(*logits.shape)
        self.launch(
            "soft_cross_entropy",
            *(logits, targets, class_weights, row_losses, outcomes, dlogits, loss, totals, self.counters(1)),
            *(*logits.shape, smoothing),
        )
        return loss, dlogits

    def l2_penalty(self, w: Array, coefficient: float) -> Array:
        blocks = sum_blocks(w.size)
        partials = self.floats(blocks)
        self.launch("l2_penalty", w, partials, coefficient, w.size)
        return (partials if blocks == 1 else column_sums(self, partials, blocks, 1)).reshape(())

    def l2_penalty_backward(self, w: Array, coefficient: float, dw: Array) -> None:
        self.launch("l2_penalty_backward", w, dw, 2 * coefficient, w.size)
