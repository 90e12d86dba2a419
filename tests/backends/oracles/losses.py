"""Losses with SciPy's log_softmax and exact sums."""

from __future__ import annotations

import math

import numpy as np
from scipy import special


def softmax(logits):
    return (special.softmax(logits, axis=1),)


def cross_entropy(logits, labels, class_weights, smoothing=0.0, ignore_index=None, totals=None):
    (n, k), logs = logits.shape, special.log_softmax(logits, axis=1)
    rows = [i for i in range(n) if labels[i] != ignore_index]
    gradient, losses = np.zeros((n, k)), []
    for i in rows:
        weight, targets = class_weights[labels[i]] / len(rows), np.full(k, smoothing / k)
        targets[labels[i]] += 1 - smoothing
        targets[logits[i] == -math.inf] = 0
        losses += [-weight * t * log for t, log in zip(targets, logs[i], strict=True) if t]
        gradient[i] = weight * (np.exp(logs[i]) * math.fsum(targets) - targets)
    loss = math.fsum(losses)
    results = np.array(loss), gradient
    if totals is None:
        return results
    hits = sum(max(range(k), key=logits[i].__getitem__) == labels[i] for i in rows)
    return *results, np.add(totals, (loss * len(rows), hits, len(rows)))


def soft_cross_entropy(logits, targets, class_weights, smoothing=0.0, totals=None):
    """Every class of a row in turn is its label, with the weight of its target."""
    (n, k), loss, gradient = logits.shape, 0.0, np.zeros(logits.shape)
    for i, target in enumerate(targets.astype(float)):
        masked = (logits[i] == -math.inf) & (target == 0)
        for label in np.flatnonzero(target):
            row = np.where(masked, -math.inf, logits[i])[None]
            one, slope = cross_entropy(row, [label], class_weights, smoothing)
            loss += target[label] * float(one) / n
            gradient[i] += target[label] * slope[0] / n
    results = np.array(loss), gradient
    if totals is None:
        return results
    hits = sum(max(range(k), key=logits[i].__getitem__) == max(range(k), key=targets[i].__getitem__) for i in range(n))
    return *results, np.add(totals, (loss * n, hits, n))


def l2_penalty(w, coefficient):
    return (np.array(coefficient * math.fsum(value * value for value in w.reshape(-1))),)


def l2_penalty_backward(w, coefficient, dw):
    return (dw + 2 * coefficient * w,)
