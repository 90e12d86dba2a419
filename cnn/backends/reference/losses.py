"""The loss: softmax cross-entropy, and the L2 penalty."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.reference.arrays import FloatArray


class Losses:
    """Losses with their gradients."""

    def softmax(self, logits: Array) -> Array:
        """Probabilities (n, k) of logits (n, k)."""
        return np.exp(_log_softmax(logits))

    def cross_entropy(
        self,
        logits: Array,
        labels: Array,
        class_weights: Array,
        smoothing: float = 0.0,
        ignore_index: int | None = None,
        totals: Array | None = None,
    ) -> tuple[Array, Array]:
        """The mean of class_weights[label] * cross-entropy over the rows that count, and its gradient.

        logits (n, k), labels (n,) int64, class_weights (k,) to loss () and dlogits (n, k). Rows whose label is
        `ignore_index` do not count; if none counts, loss and gradient are 0. The mean divides by the number of rows,
        not by the sum of their weights. With smoothing s (Szegedy et al. 2016) the target is 1 - s + s / k at the label
        and s / k elsewhere. A class whose logit is -inf is masked: its target is 0, and the loss stays finite.

        `totals` float64 (3,) is changed in place: loss * rows, the rows whose argmax is the label, and the rows are
        added.
        """
        counted = np.ones(len(labels), bool) if ignore_index is None else labels != ignore_index
        safe = np.where(counted, labels, 0)
        is_label = np.arange(logits.shape[1]) == safe[:, None]
        targets = np.where(is_label, 1 - smoothing + smoothing / logits.shape[1], smoothing / logits.shape[1])
        targets[np.isneginf(logits) & ~is_label] = 0
        weights = np.where(counted, class_weights[safe], 0).astype(logits.dtype)
        rows = int(np.count_nonzero(counted))
        loss, dlogits = _weighted(logits, targets.astype(logits.dtype), weights / max(rows, 1))
        if totals is not None:
            totals += [float(loss) * rows, np.count_nonzero((logits.argmax(axis=1) == labels) & counted), rows]
        return loss, dlogits

    def soft_cross_entropy(
        self,
        logits: Array,
        targets: Array,
        class_weights: Array,
        smoothing: float = 0.0,
        totals: Array | None = None,
    ) -> tuple[Array, Array]:
        """The mean over the rows of `cross_entropy` expected for labels drawn from `targets`, and its gradient.

        logits (n, k), targets (n, k) float32 and class_weights (k,) to loss () and dlogits (n, k). With t of a row's
        targets and s the smoothing, class j weighs (1 - s) * t[j] * class_weights[j] + s / k * sum(t * class_weights).
        Targets need not sum to one. A class whose target is 0 and whose logit is -inf is masked, as in `cross_entropy`.

        `totals` float64 (3,) is changed in place: loss * n, the rows whose argmax is that of the targets, and n are
        added.
        """
        weighted = targets.astype(logits.dtype) * class_weights
        masked = np.isneginf(logits) & (targets == 0)
        even = smoothing / logits.shape[1] * weighted.sum(axis=1, keepdims=True)
        full = np.where(masked, 0, (1 - smoothing) * weighted + even).astype(logits.dtype)
        loss, dlogits = _weighted(logits, full, np.full(len(logits), 1 / len(logits), logits.dtype))
        if totals is not None:
            hits = np.count_nonzero(logits.argmax(axis=1) == targets.argmax(axis=1))
            totals += [float(loss) * len(logits), hits, len(logits)]
        return loss, dlogits

    def l2_penalty(self, w: Array, coefficient: float) -> Array:
        """Coefficient * sum(w ** 2), a scalar array ()."""
        return np.asarray(np.sum(np.square(w), dtype=np.float64) * coefficient, w.dtype)

    def l2_penalty_backward(self, w: Array, coefficient: float, dw: Array) -> None:
        """In place: dw += 2 * coefficient * w."""
        dw += w.dtype.type(2 * coefficient) * w


def _weighted(logits: FloatArray, targets: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sum over the rows of weights (n,) times cross-entropy of targets (n, k), and its gradient."""
    log_probabilities = _log_softmax(logits)
    terms = np.zeros_like(logits)
    np.multiply(targets, log_probabilities, out=terms, where=targets != 0)  # 0 * -inf is 0 here
    rows = np.multiply(weights, terms.sum(axis=1), where=weights != 0, out=np.zeros_like(weights))
    mass = targets.sum(axis=1, keepdims=True)
    dlogits = weights[:, None] * (np.exp(log_probabilities) * mass - targets)
    return np.asarray(-rows.sum(dtype=np.float64), logits.dtype), np.where(weights[:, None] == 0, 0, dlogits)


def _log_softmax(logits: FloatArray) -> FloatArray:
    """Log-probabilities, shifted by the row's maximum so that nothing overflows; NaN if that is not finite."""
    with np.errstate(invalid="ignore"):  # inf - inf
        shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
