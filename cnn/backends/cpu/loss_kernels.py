"""Softmax cross-entropy and its gradient, row by row: for a few numbers, NumPy's calls take longer than the sums."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.jit import compiled


@compiled
def target_of(c, label, logit, on, off, zero):
    """The target of class c, of the logits' type: `zero` for a masked one, whose logit is -inf."""
    if c == label:
        return on
    return zero if logit == -np.inf else off


@compiled
def cross_entropy(logits, labels, class_weights, on, off, ignores, ignored, count, dlogits, sums):
    """Fill dlogits (n, k); add to sums (2,) the loss and the number of rows whose argmax is the label.

    `on` and `off` are the targets at the label and elsewhere, `count` the number of rows that count, of the logits'
    type. Returns False, and stops, at a label that is no class.
    """
    zero = logits.dtype.type(0)
    classes = logits.shape[1]
    for n in range(logits.shape[0]):
        label = labels[n]
        if ignores and label == ignored:
            dlogits[n] = zero
            continue
        if label < 0 or label >= classes:
            return False
        largest, best = logits[n, 0], 0
        for c in range(1, classes):
            value = logits[n, c]
            if not np.isnan(largest) and (value > largest or np.isnan(value)):  # np.argmax takes the first NaN
                largest, best = value, c
        if best == label:
            sums[1] += 1
        weight = logits.dtype.type(class_weights[label]) / count
        if weight == zero:
            dlogits[n] = zero
            continue
        total = zero
        for c in range(classes):
            total += np.exp(logits[n, c] - largest)
        level = np.log(total)
        terms, mass = zero, zero
        for c in range(classes):
            shifted = (logits[n, c] - largest) - level
            target = target_of(c, label, logits[n, c], on, off, zero)
            if target != zero:
                terms += target * shifted
            mass += target
            dlogits[n, c] = shifted
        for c in range(classes):
            shifted = dlogits[n, c]
            target = target_of(c, label, logits[n, c], on, off, zero)
            dlogits[n, c] = weight * (np.exp(shifted) * mass - target)
        sums[0] -= np.float64(weight * terms)
    return True
