"""Parameter updates, in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase


class NumpyUpdates(NumpyBase):
    """SGD and Adam, tensor by tensor in pieces of cache size."""

    def sgd_update(
        self,
        params: Sequence[FloatArray],
        grads: Sequence[FloatArray],
        velocities: Sequence[FloatArray],
        *,
        learning_rate: float,
        momentum: float,
        nesterov: bool,
        weight_decay: Sequence[float],
        decoupled: bool,
    ) -> None:
        for param, grad, velocity, decay in zip(params, grads, velocities, weight_decay, strict=True):

            def run(p: FloatArray, g: FloatArray, v: FloatArray, decay: float = decay) -> None:
                g = _decayed(p, g, decay, decoupled, learning_rate)
                v *= momentum
                v += g
                p -= learning_rate * (g + momentum * v if nesterov else v)

            self.in_place(run, param, grad, velocity)

    def adam_update(
        self,
        params: Sequence[FloatArray],
        grads: Sequence[FloatArray],
        first_moments: Sequence[FloatArray],
        second_moments: Sequence[FloatArray],
        *,
        learning_rate: float,
        beta1: float,
        beta2: float,
        eps: float,
        step: int,
        weight_decay: Sequence[float],
        decoupled: bool,
    ) -> None:
        correction1, correction2 = 1 - beta1**step, 1 - beta2**step
        tensors = zip(params, grads, first_moments, second_moments, weight_decay, strict=True)
        for param, grad, first, second, decay in tensors:

            def run(p: FloatArray, g: FloatArray, m: FloatArray, v: FloatArray, decay: float = decay) -> None:
                g = _decayed(p, g, decay, decoupled, learning_rate)
                m *= beta1
                m += (1 - beta1) * g
                v *= beta2
                v += (1 - beta2) * (g * g)
                p -= (learning_rate / correction1) * m / (np.sqrt(v / correction2) + eps)

            self.in_place(run, param, grad, first, second)


def _decayed(p: FloatArray, g: FloatArray, decay: float, decoupled: bool, learning_rate: float) -> FloatArray:
    """The gradient with L2 decay added; decoupled decay shrinks p in place instead."""
    if decay == 0:
        return g
    if decoupled:
        p *= 1 - learning_rate * decay
        return g
    return g + decay * p
