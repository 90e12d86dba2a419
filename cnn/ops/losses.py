"""Softmax and cross-entropy."""

from __future__ import annotations

import numpy as np

from cnn.backends import Array
from cnn.ops.dispatch import contiguous, kind_of, read


def softmax(logits: Array) -> Array:
    """Probabilities (n, k) of logits (n, k)."""
    given = read(logits=(logits, "n k"))
    return given.ops.softmax(*given.arrays)


def cross_entropy(
    logits: Array,
    labels: Array,
    class_weights: Array | None = None,
    smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[Array, Array]:
    """The mean of class_weights[label] * cross-entropy over the rows that count, a scalar array, and its gradient.

    logits (n, k), labels (n,) of integers from 0 to k - 1, and class_weights (k,), by default all 1, to loss ()
    and dlogits (n, k). Rows labelled `ignore_index` do not count. The mean divides by the number of rows that count,
    not by the sum of their weights. `smoothing` s moves s / k of the target to every class (Szegedy et al. 2016).
    Labels out of range raise ValueError for NumPy arrays; CuPy arrays are not checked, because that would wait for the
    device.
    """
    given = read(logits=(logits, "n k"), class_weights=(class_weights, "k"))
    logits, class_weights = given.arrays
    kind = kind_of("labels", labels)
    if kind != kind_of("logits", logits):
        raise TypeError("labels and logits must be arrays of one library")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be whole numbers, not {labels.dtype}")
    n, k = logits.shape
    if labels.shape != (n,):
        raise ValueError(f"labels has shape {labels.shape}, but logits of shape {logits.shape} need ({n},)")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be a number from 0 to below 1, not {smoothing!r}")
    if kind == "numpy":
        wrong = (labels < 0) | (labels >= k)
        if ignore_index is not None:
            wrong &= labels != ignore_index
        if wrong.any():
            raise ValueError(f"labels holds {labels[wrong][0]}, but logits have {k} classes")
    if class_weights is None:
        class_weights = given.ops.array(np.ones(k, logits.dtype))
    numbers = contiguous(labels.astype(np.int64, copy=False))
    return given.ops.cross_entropy(logits, numbers, class_weights, float(smoothing), ignore_index)
