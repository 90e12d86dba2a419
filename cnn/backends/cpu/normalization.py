"""Batch normalisation in compiled passes."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Normalize
from cnn.backends.cpu import norm_kernels
from cnn.backends.cpu.activations import CpuActivations
from cnn.backends.cpu.arrays import FloatArray
from cnn.backends.reference.arrays import into, rows_of


class CpuNormalization(CpuActivations):
    """Statistics, and the affine map with a ReLU, each in one pass over memory. Group norm is the reference's."""

    def moments(self, x: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Mean and squared deviations of each chunk, merged pairwise in float64 (Chan, Golub & LeVeque 1979).

        So a small variance keeps its digits beside a large mean.
        """
        rows = rows_of(x)

        def run(piece: slice) -> tuple[int, FloatArray, FloatArray]:
            block = rows[piece]
            mean, mean_error, squares = np.empty((3, block.shape[1]), block.dtype)
            norm_kernels.statistics(block, mean, mean_error, squares)
            # The rounding error of the mean is added to the mean and taken out of the variance.
            mean_error = mean_error.astype(np.float64)
            return len(block), mean + mean_error, squares.astype(np.float64) - len(block) * mean_error * mean_error

        count, mean, squares = 0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
        for size, piece_mean, piece_squares in self.workers.map(run, self.channel_pieces(*rows.shape)):
            delta = piece_mean - mean
            total = count + size
            mean += delta * (size / total)
            squares += piece_squares + delta * delta * (count * size / total)
            count = total
        if not np.isfinite(squares).all():  # a square overflowed; the reference sums in float64
            return super().moments(x, out)
        with np.errstate(over="ignore"):
            return into(out, np.stack([mean, squares / count]).astype(x.dtype))

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
            lambda piece: norm_kernels.apply(rows[piece], mean, scale, stage.beta, relu, out[piece]),
            self.channel_pieces(*rows.shape),
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
        work = self.channel_pieces(*rows.shape)
        mean, relu = stage.moments[0], y is not None

        def reduce(piece: slice) -> FloatArray:
            sums = np.empty((2, rows.shape[1]), rows.dtype)
            norm_kernels.reduce(given[piece], rows[piece], mean, last[piece], relu, sums[0], sums[1])
            return sums

        factors = backward_factors(np.add.reduce(self.workers.map(reduce, work)), stage, len(rows))

        def run(piece: slice) -> None:
            norm_kernels.backward(given[piece], rows[piece], mean, *factors, last[piece], relu, input_relu, out[piece])

        self.workers.map(run, work)
        return dx


def scale_of(stage: Normalize) -> FloatArray:
    """gamma / sqrt(variance + eps): (c,)."""
    return stage.gamma / np.sqrt(stage.moments[1] + stage.moments.dtype.type(stage.eps))


def backward_factors(sums: FloatArray, stage: Normalize, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fill the stage's gradients; return the factors (c,) of dx = (x - mean) * x_factor + offset + dy * scale.

    `sums` are the sums of dy and of dy * (x - mean) over `count` rows. With the moments of the batch, dx is
    gamma / std * (dy - mean(dy) - normalised * mean(dy * normalised)); with constant moments gamma / std * dy.
    """
    dbeta, centred = sums
    inverse = 1 / np.sqrt(stage.moments[1] + stage.moments.dtype.type(stage.eps))
    dgamma, scale = centred * inverse, stage.gamma * inverse
    if stage.gradients is not None:
        into(stage.gradients[0], dgamma)
        into(stage.gradients[1], dbeta)
    if not stage.batch:
        return np.zeros_like(scale), np.zeros_like(scale), scale
    return -scale * inverse * dgamma / count, -scale * dbeta / count, scale
