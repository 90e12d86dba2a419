"""Activations' gradients, dropout and parameter updates, compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnn.backends.compiled_ops import elementwise_kernels as kernels
from cnn.backends.numpy_ops.activations import NumpyActivations
from cnn.backends.numpy_ops.base import FloatArray
from cnn.backends.numpy_ops.dropout import NumpyDropout, dropout_threshold
from cnn.backends.numpy_ops.updates import NumpyUpdates
from cnn.backends.philox import RandomKey
from cnn.backends.workers import pieces

_DROPOUT_PIECE = 1 << 16  # elements; a multiple of the eight that one Philox block serves


class CompiledElementwise(NumpyActivations, NumpyDropout, NumpyUpdates):
    """One walk over memory for what NumPy does in several."""

    def relu_backward(self, dy: FloatArray, x: FloatArray) -> FloatArray:
        return self.elementwise(_relu_backward, dy, x)

    def dropout(self, x: FloatArray, rate: float, key: RandomKey) -> tuple[FloatArray, FloatArray]:
        threshold, scale = dropout_threshold(rate)
        y, mask = self.memory.empty(x.shape, x.dtype), self.memory.empty(x.shape, np.uint8)
        flat_x, flat_y, flat_mask = x.reshape(-1), y.reshape(-1), mask.reshape(-1)
        seed, stream, step = (np.uint64(part & (2**64 - 1)) for part in key)
        factor = x.dtype.type(scale)

        def run(piece: slice) -> None:
            part = (flat_y[piece], flat_mask[piece])
            kernels.dropout(flat_x[piece], seed, stream, step, piece.start // 8, threshold, factor, *part)

        self.workers.map(run, pieces(x.size, _DROPOUT_PIECE))
        return y, mask

    def dropout_backward(self, dy: FloatArray, mask: FloatArray, rate: float) -> FloatArray:
        factor = dy.dtype.type(dropout_threshold(rate)[1])
        return self.elementwise(lambda dy, mask, out: kernels.dropout_backward(dy, mask, factor, out), dy, mask)

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
            rate, inertia, shrink = (param.dtype.type(value) for value in (learning_rate, momentum, decay))

            def run(
                p: FloatArray,
                g: FloatArray,
                v: FloatArray,
                rate: FloatArray = rate,
                inertia: FloatArray = inertia,
                shrink: FloatArray = shrink,
            ) -> None:
                kernels.sgd(p, g, v, rate, inertia, nesterov, shrink, decoupled)

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
        numbers = (
            *(learning_rate, beta1, beta2, 1 - beta1, 1 - beta2, eps),
            *(learning_rate / correction1, correction2),
        )
        tensors = zip(params, grads, first_moments, second_moments, weight_decay, strict=True)
        for param, grad, first, second, decay in tensors:
            scalars = [param.dtype.type(value) for value in (*numbers, decay)]

            def run(
                p: FloatArray, g: FloatArray, m: FloatArray, v: FloatArray, scalars: list[FloatArray] = scalars
            ) -> None:
                kernels.adam(*(p, g, m, v, *scalars, decoupled))

            self.in_place(run, param, grad, first, second)


def _relu_backward(dy: FloatArray, x: FloatArray, out: FloatArray) -> None:
    kernels.relu_backward(dy, x, out)
