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


def softmax_cross_entropy(logits, targets, weights):
    logs, n = special.log_softmax(logits, axis=1), len(logits)
    terms = [-weights[i] * t * logs[i, c] for (i, c), t in np.ndenumerate(targets) if t]
    gradient = weights[:, None] / n * (np.exp(logs) * targets.sum(axis=1, keepdims=True) - targets)
    return np.array(math.fsum(terms) / n), gradient


def l2_penalty(w, coefficient):
    return (np.array(coefficient * math.fsum(value * value for value in w.reshape(-1))),)


def l2_penalty_backward(w, coefficient, dw):
    return (dw + 2 * coefficient * w,)
