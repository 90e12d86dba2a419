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
        momentum: Array,
        nesterov: bool,
        weight_decay: float,
        decoupled: bool,
        copy: Array | None = None,
    ) -> None:
        """Stochastic gradient descent with (Nesterov) momentum, in place; all arrays are flat and equally long.

        `v = momentum * v + g; p -= lr * (g + momentum * v if nesterov else v)`. Weight decay is added to g as
        `decay * p` or, if decoupled, subtracted as `p -= lr * decay * p` before the step. learning_rate and momentum
        float32 (1,).
        `copy`, an array of the type that `stored` returns for bfloat16, is filled with the new parameters, rounded.
        """
        rate, inertia = float(learning_rate[0]), float(momentum[0])
        g = _decayed(params, grads, weight_decay, decoupled, rate)
        velocities *= inertia
        velocities += g
        params -= rate * (g + inertia * velocities if nesterov else velocities)
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
        beta1: Array,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        copy: Array | None = None,
    ) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1); decoupled decay makes it AdamW (Loshchilov & Hutter 2019).

        clock[0] is the step, counted from 1; beta1 float32 (1,) is that of this step, also in the correction of the
        bias. Weight decay and `copy` are as in `sgd_update`.
        """
        rate, step, inertia = float(learning_rate[0]), int(clock[0]), float(beta1[0])
        g = _decayed(params, grads, weight_decay, decoupled, rate)
        first_moments *= inertia
        first_moments += (1 - inertia) * g
        second_moments *= beta2
        second_moments += (1 - beta2) * (g * g)
        step_size, correction2 = rate / (1 - inertia**step), 1 - beta2**step
        params -= step_size * first_moments / (np.sqrt(second_moments / correction2) + eps)
        if copy is not None:
            copy[...] = round_to_bfloat16(params)

    def blend(self, into: Array, values: Array, share: Array, copy: Array | None = None) -> None:
        """In place: into += share * (values - into), of equally long flat arrays; share float32 (1,).

        A share of 1 gives `values`, and one of 0 changes nothing. `copy` is as in `sgd_update`.
        """
        part = into.dtype.type(share[0])
        if part == 0:
            return
        into[...] = values if part == 1 else into + part * (values - into)
        if copy is not None:
            copy[...] = round_to_bfloat16(into)

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
