"""Parameter updates, in place, over flat arrays: an arena, or the part of it with one weight decay."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.reference.arrays import FloatArray, round_to_bfloat16


class Updates:
    """SGD, Adam, and clipping of the gradient."""

    def sgd_update(
        self,
        params: Array,
        grads: Array,
        velocities: Array,
        *,
        learning_rate: Array,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
        decoupled: bool,
        copy: Array | None = None,
    ) -> None:
        """Stochastic gradient descent with (Nesterov) momentum, in place; all arrays are flat and equally long.

        `v = momentum * v + g; p -= lr * (g + momentum * v if nesterov else v)`. Weight decay is added to g as
        `decay * p` or, if decoupled, subtracted as `p -= lr * decay * p` before the step. learning_rate float32 (1,).
        `copy`, an array of the type that `stored` returns for bfloat16, is filled with the new parameters, rounded.
        """
        rate = float(learning_rate[0])
        g = _decayed(params, grads, weight_decay, decoupled, rate)
        velocities *= momentum
        velocities += g
        params -= rate * (g + momentum * velocities if nesterov else velocities)
        if copy is not None:
            copy[...] = round_to_bfloat16(params)

    def adam_update(
        self,
        params: Array,
        grads: Array,
        first_moments: Array,
        second_moments: Array,
        *,
        learning_rate: Array,
        clock: Array,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        copy: Array | None = None,
    ) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1); decoupled decay makes it AdamW (Loshchilov & Hutter 2019).

        clock[0] is the step, counted from 1. Weight decay and `copy` are as in `sgd_update`.
        """
        rate, step = float(learning_rate[0]), int(clock[0])
        g = _decayed(params, grads, weight_decay, decoupled, rate)
        first_moments *= beta1
        first_moments += (1 - beta1) * g
        second_moments *= beta2
        second_moments += (1 - beta2) * (g * g)
        step_size, correction2 = rate / (1 - beta1**step), 1 - beta2**step
        params -= step_size * first_moments / (np.sqrt(second_moments / correction2) + eps)
        if copy is not None:
            copy[...] = round_to_bfloat16(params)

    def clip_by_global_norm(self, grads: Array, limit: float) -> Array:
        """In place: grads (m,) *= limit / norm if their Euclidean norm is above `limit` (Pascanu et al. 2013).

        Returns the norm before, a scalar array ().
        """
        norm = np.sqrt(np.sum(np.square(grads, dtype=np.float64)))
        if norm > limit:
            grads *= grads.dtype.type(limit / norm)
        return np.asarray(norm, grads.dtype)


def _decayed(p: FloatArray, g: FloatArray, decay: float, decoupled: bool, learning_rate: float) -> FloatArray:
    """The gradient with L2 decay added; decoupled decay shrinks p in place instead."""
    if decay == 0:
        return g
    if decoupled:
        p *= 1 - learning_rate * decay
        return g
    return g + decay * p
