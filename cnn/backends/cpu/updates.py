"""Parameter updates: one compiled memory pass over the arena."""

from __future__ import annotations

from typing import Any

from cnn.backends.cpu import elementwise_kernels as kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray, round_chunk


class CpuUpdates(CpuArrays):
    """SGD and Adam, in chunks on all cores."""

    def sgd_update(
        self,
        params: FloatArray,
        grads: FloatArray,
        velocities: FloatArray,
        *,
        learning_rate: FloatArray,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
        decoupled: bool,
        copy: FloatArray | None = None,
    ) -> None:
        rate, inertia, decay = (params.dtype.type(value) for value in (learning_rate[0], momentum, weight_decay))

        def run(p: FloatArray, g: FloatArray, v: FloatArray, *rounded: FloatArray) -> None:
            kernels.sgd(p, g, v, rate, inertia, nesterov, decay, decoupled)
            for part in rounded:  # while p is in the cache
                round_chunk(p, out=part)

        self.in_place(run, params, grads, velocities, *([] if copy is None else [copy]))

    def adam_update(
        self,
        params: FloatArray,
        grads: FloatArray,
        first_moments: FloatArray,
        second_moments: FloatArray,
        *,
        learning_rate: FloatArray,
        clock: FloatArray,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        copy: FloatArray | None = None,
    ) -> None:
        rate, step = float(learning_rate[0]), int(clock[0])
        numbers = (
            *(rate, beta1, beta2, 1 - beta1, 1 - beta2, eps),
            *(rate / (1 - beta1**step), 1 - beta2**step, weight_decay),
        )
        scalars: Any = [params.dtype.type(value) for value in numbers]

        def run(p: FloatArray, g: FloatArray, m: FloatArray, v: FloatArray, *rounded: FloatArray) -> None:
            kernels.adam(*(p, g, m, v, *scalars, decoupled))
            for part in rounded:
                round_chunk(p, out=part)

        self.in_place(run, params, grads, first_moments, second_moments, *([] if copy is None else [copy]))
