"""Parameter updates: one compiled memory pass over the arena."""

from __future__ import annotations

from typing import Any

from cnn.backends.cpu import elementwise_kernels as kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray, round_chunk


class CpuUpdates(CpuArrays):
    """SGD, Adam and blends, in chunks on all cores."""

    def sgd_update(
        self,
        params: FloatArray,
        grads: FloatArray,
        velocities: FloatArray,
        *,
        learning_rate: FloatArray,
        momentum: FloatArray,
        nesterov: bool,
        weight_decay: float,
        decoupled: bool,
        copy: FloatArray | None = None,
    ) -> None:
        rate, inertia, decay = (params.dtype.type(value) for value in (learning_rate[0], momentum[0], weight_decay))

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
        beta1: FloatArray,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        copy: FloatArray | None = None,
    ) -> None:
        rate, step, inertia = float(learning_rate[0]), int(clock[0]), float(beta1[0])
        numbers = (
            *(rate, inertia, beta2, 1 - inertia, 1 - beta2, eps),
            *(rate / (1 - inertia**step), 1 - beta2**step, weight_decay),
        )
        scalars: Any = [params.dtype.type(value) for value in numbers]

        def run(p: FloatArray, g: FloatArray, m: FloatArray, v: FloatArray, *rounded: FloatArray) -> None:
            kernels.adam(*(p, g, m, v, *scalars, decoupled))
            for part in rounded:
                round_chunk(p, out=part)

        self.in_place(run, params, grads, first_moments, second_moments, *([] if copy is None else [copy]))

    def blend(self, into: FloatArray, values: FloatArray, share: FloatArray, copy: FloatArray | None = None) -> None:
        part = into.dtype.type(share[0])
        if part == 0:
            return

        def run(own: FloatArray, other: FloatArray, *rounded: FloatArray) -> None:
            kernels.blend(own, other, part)
            for each in rounded:
                round_chunk(own, out=each)

        self.in_place(run, into, values, *([] if copy is None else [copy]))
