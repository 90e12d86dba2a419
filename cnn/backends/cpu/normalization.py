"""Batch normalisation in compiled passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnn.backends.blocks import Normalize
from cnn.backends.cpu import norm_kernels
from cnn.backends.cpu.activations import CpuActivations
from cnn.backends.cpu.arrays import FloatArray
from cnn.backends.reference.arrays import rows_of


class CpuNormalization(CpuActivations):
    """Statistics, and the affine map with a ReLU, each in one pass over memory. Group norm is the reference's."""

    def moments(self, x: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Mean and squared deviations of each chunk, merged pairwise in float64 (Chan, Golub & LeVeque 1979).

        So a small variance keeps its digits beside a large mean.
        """
        rows = rows_of(x)
        work = self.channel_chunks(*rows.shape)
        parts = np.empty((len(work), 3, rows.shape[1]), rows.dtype)

        def run(number: int) -> None:
            norm_kernels.statistics(rows[work[number]], *parts[number])

        self.workers.map(run, range(len(work)), x.nbytes)
        result = np.empty((2, rows.shape[1]), x.dtype) if out is None else out
        sizes = np.array([chunk.stop - chunk.start for chunk in work])
        if not norm_kernels.merge(sizes, parts, result):  # a square overflowed; the reference sums in float64
            return super().moments(x, out)
        return result

    def running_average(self, running: FloatArray, current: FloatArray, momentum: float) -> None:
        kind = running.dtype.type
        norm_kernels.running_average(running.reshape(-1), current.reshape(-1), kind(momentum), kind(1 - momentum))

    def normalize(
        self, x: FloatArray, gamma: FloatArray, beta: FloatArray, moments: FloatArray, eps: float
    ) -> FloatArray:
        return self.normalized(x, Normalize(gamma, beta, moments, eps, False), relu=False)

    def normalize_backward(
        self,
        dy: FloatArray,
        x: FloatArray,
        gamma: FloatArray,
        moments: FloatArray,
        eps: float,
        batch: bool,
        out: tuple[FloatArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        stage = Normalize(gamma, gamma, moments, eps, batch, out or (np.empty_like(gamma), np.empty_like(gamma)))
        dx = self.normalized_backward(dy, x, None, stage, input_relu=False)
        assert stage.gradients is not None
        return dx, *stage.gradients

    def normalized(self, x: FloatArray, stage: Normalize, relu: bool) -> FloatArray:
        """The affine map of x, then ReLU if `relu`."""
        y = self.memory.empty(x.shape, x.dtype)
        rows, out = rows_of(x), rows_of(y)
        mean, scale = stage.moments[0], scale_of(stage)
        self.workers.map(
            lambda chunk: norm_kernels.apply(rows[chunk], mean, scale, stage.beta, relu, out[chunk]),
            self.channel_chunks(*rows.shape),
            x.nbytes,
        )
        return y

    def normalized_backward(
        self, dy: FloatArray, x: FloatArray, y: FloatArray | None, stage: Normalize, input_relu: bool
    ) -> FloatArray:
        """dx; also fills the stage's gradients. `y` is the output of a ReLU after the map: dy is 0 where y <= 0.

        With `input_relu` x is the output of a ReLU, and dx includes the gradient of that ReLU.
        """
        dx = self.memory.empty(x.shape, x.dtype)
        rows, given, out = rows_of(x), rows_of(dy), rows_of(dx)
        last = given if y is None else rows_of(y)
        work = self.channel_chunks(*rows.shape)
        mean, relu = stage.moments[0], y is not None

        sums: Any = np.empty((len(work), 2, rows.shape[1]), rows.dtype)

        def reduce(number: int) -> None:
            chunk = work[number]
            norm_kernels.reduce(given[chunk], rows[chunk], mean, last[chunk], relu, *sums[number])

        self.workers.map(reduce, range(len(work)), x.nbytes)
        factors: Any = self.backward_factors(sums, stage, len(rows))

        def run(chunk: slice) -> None:
            parts = (given[chunk], rows[chunk], mean, *factors, last[chunk], relu, input_relu, out[chunk])
            norm_kernels.backward(*parts)

        self.workers.map(run, work, x.nbytes)
        return dx

    def backward_factors(self, sums: FloatArray, stage: Normalize, count: int) -> FloatArray:
        """Fill the stage's gradients; return the factors (3, c) of dx = (x - mean) * x_factor + offset + dy * scale.

        `sums` (chunks, 2, c) are those of dy and of dy * (x - mean) over `count` rows in all.
        """
        gamma = stage.gamma
        if self.shares and stage.batch:
            sums = sums.sum(axis=0, keepdims=True, dtype=np.float64).astype(sums.dtype)
            self.share_sums(sums)
        factors, (dgamma, dbeta) = (
            np.empty((3, gamma.size), gamma.dtype),
            stage.gradients or np.empty((2, gamma.size), gamma.dtype),
        )
        eps, rows = gamma.dtype.type(stage.eps), gamma.dtype.type(count)
        norm_kernels.backward_factors(sums, gamma, stage.moments, eps, rows, stage.batch, dgamma, dbeta, factors)
        return factors


def scale_of(stage: Normalize) -> FloatArray:
    """gamma / sqrt(variance + eps): (c,)."""
    scale = np.empty_like(stage.gamma)
    norm_kernels.affine_scale(stage.gamma, stage.moments, scale.dtype.type(stage.eps), scale)
    return scale
