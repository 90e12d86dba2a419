"""The training loss: softmax cross-entropy with class weights and label smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops
from foundation.errors import UserError


class CrossEntropy:
    """Mean over the batch of class weight times cross-entropy.

    As in Keras the mean divides by the batch size, not by the sum of weights. The model adds the L2 penalty.
    """

    def __init__(
        self, ops: Ops, class_weights: NDArray[np.float32], smoothing: float = 0.0, ignore_index: int | None = None
    ) -> None:
        check_smoothing(smoothing)
        self.ops, self.smoothing, self.ignore_index = ops, smoothing, ignore_index
        self._class_weights = ops.array(class_weights)

    def __call__(self, logits: Array, labels: Array, totals: Array | None = None) -> tuple[Array, Array]:
        """Logits (n, k) and labels (n,) to the loss () and its gradient (n, k); see `Ops.cross_entropy`.

        Labels may be distributions (n, k) float32; see `Ops.soft_cross_entropy`.
        """
        if labels.ndim == 2:
            return self.ops.soft_cross_entropy(logits, labels, self._class_weights, self.smoothing, totals)
        return self.ops.cross_entropy(logits, labels, self._class_weights, self.smoothing, self.ignore_index, totals)


def check_smoothing(smoothing: float) -> None:
    """Raise `UserError` for a label smoothing out of range."""
    if not 0 <= smoothing < 1:
        raise UserError(f"trainer.label_smoothing must be from 0 to below 1, not {smoothing}")


def check_rule(rule: str) -> None:
    """Raise `UserError` for an unknown rule of `class_weights`."""
    if rule not in ("none", "balanced"):
        raise UserError(f"trainer.class_weights is '{rule}'; choose none or balanced")


def class_weights(rule: str, labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """One weight per class: 1 for `none`; images / (classes * images of the class) for `balanced`, where classes
    without images do not count and have weight 1 (King & Zeng 2001; scikit-learn's "balanced")."""
    check_rule(rule)
    if rule == "none":
        return np.ones(classes, np.float32)
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.where(counts, len(labels) / (present * np.maximum(counts, 1)), 1).astype(np.float32)
