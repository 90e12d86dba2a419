"""Parameter updates, one number at a time."""

from __future__ import annotations

import math

import numpy as np


def _each_number(rule, *arrays):
    """`rule(*numbers)` on the numbers of equally long arrays; returns the arrays that it changes."""
    changed = [rule(*numbers) for numbers in zip(*(array.tolist() for array in arrays), strict=True)]
    return tuple(np.array(column) for column in zip(*changed, strict=True))


def sgd_update(params, grads, velocities, *, learning_rate, momentum, nesterov, weight_decay, decoupled):
    rate, momentum = float(learning_rate[0]), float(momentum[0])

    def rule(p, g, v):
        if decoupled:
            p = p - rate * weight_decay * p
        else:
            g = g + weight_decay * p
        v = momentum * v + g
        return p - rate * (g + momentum * v if nesterov else v), v

    return _each_number(rule, params, grads, velocities)


def adam_update(
    params,
    grads,
    first_moments,
    second_moments,
    *,
    learning_rate,
    clock,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
):
    rate, step, beta1 = float(learning_rate[0]), int(clock[0]), float(beta1[0])

    def rule(p, g, m, v):
        if decoupled:  # AdamW, algorithm 2 of Loshchilov & Hutter with the schedule inside the learning rate
            p = p - rate * weight_decay * p
        else:
            g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
        return p - rate * m_hat / (math.sqrt(v_hat) + eps), m, v

    return _each_number(rule, params, grads, first_moments, second_moments)


def clip_by_global_norm(grads, limit):
    norm = math.sqrt(math.fsum(value * value for value in grads.tolist()))
    return np.array(norm), grads * (limit / norm) if norm > limit else grads


def blend(into, values, share):
    (part,) = share.tolist()
    return (np.array([(1 - part) * a + part * b for a, b in zip(into.tolist(), values.tolist(), strict=True)]),)
