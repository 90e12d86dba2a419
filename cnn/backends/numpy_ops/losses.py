"""The loss: softmax cross-entropy and the L2 penalty."""

from __future__ import annotations

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase


class NumpyLosses(NumpyBase):
    """Losses with their gradients. The arrays are small (n, classes): no pieces."""

    def softmax(self, logits: FloatArray) -> FloatArray:
        return np.exp(_log_softmax(logits))

    def soft_targets(self, labels: FloatArray, classes: int, smoothing: float, like: FloatArray) -> FloatArray:
        targets = np.full((len(labels), classes), smoothing / classes, like.dtype)
        targets[np.arange(len(labels)), labels] += like.dtype.type(1 - smoothing)
        return targets

    def softmax_cross_entropy(
        self, logits: FloatArray, targets: FloatArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        log_probabilities = _log_softmax(logits)
        share = (weights / len(logits))[:, None]
        loss = -np.sum(share * targets * log_probabilities)
        # Targets need not sum to one, so their sum stays in the gradient.
        mass = targets.sum(axis=1, keepdims=True)
        return np.asarray(loss), share * (np.exp(log_probabilities) * mass - targets)

    def l2_penalty(self, w: FloatArray, coefficient: float) -> FloatArray:
        flat = w.reshape(-1)
        return np.asarray(np.dot(flat, flat) * w.dtype.type(coefficient))

    def l2_penalty_backward(self, w: FloatArray, coefficient: float, dw: FloatArray) -> None:
        dw += w.dtype.type(2 * coefficient) * w

    def count_correct(self, logits: FloatArray, labels: FloatArray) -> FloatArray:
        return np.asarray(np.count_nonzero(logits.argmax(axis=1) == labels))


def _log_softmax(logits: FloatArray) -> FloatArray:
    """Log-probabilities, shifted by the row's maximum so that nothing overflows."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
