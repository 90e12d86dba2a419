"""Parameter updates, in place, over flat arrays."""

from __future__ import annotations

import math

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.cuda.arrays import CudaArrays
from cnn.kernels.families.updates import sum_blocks


class CudaUpdates(CudaArrays):
    """Kernels in `cnn/kernels/updates.cu`."""

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
        self.launch(
            "sgd_update",
            *(params, grads, velocities, learning_rate, momentum, copy, _count(params, grads, velocities, copy)),
            *(int(nesterov), weight_decay, int(decoupled)),
        )

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
        count = _count(params, grads, first_moments, second_moments, copy)
        self.launch(
            "adam_update",
            *(params, grads, first_moments, second_moments, learning_rate, beta1, clock, copy, count),
            *(beta2, 1 - beta2, math.log(beta2) if beta2 > 0 else -math.inf, eps, weight_decay, int(decoupled)),
        )

    def blend(self, into: Array, values: Array, share: Array, copy: Array | None = None) -> None:
        self.launch("blend", into, values, share, copy, _count(into, values, copy))

    def clip_by_global_norm(self, grads: Array, limit: float) -> Array:
        blocks = sum_blocks(grads.size)
        partials, norm = self.empty((blocks,), np.float64), self.floats()
        self.launch("sum_squares", grads, partials, grads.size)
        self.launch("clip_to_norm", grads, partials, norm, limit, blocks, grads.size)
        return norm


def _count(params: Array, *others: Array | None) -> int:
    """The number of parameters. Raises ValueError unless all arrays have that length."""
    sizes = [params.size, *(other.size for other in others if other is not None)]
    if len(set(sizes)) > 1:
        raise ValueError(f"an update's arrays must be equally long, not of {', '.join(map(str, sizes))} elements")
    return params.size
