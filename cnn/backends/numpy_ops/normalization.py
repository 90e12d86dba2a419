"""Batch normalisation over the last axis."""

from __future__ import annotations

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase, by_channel, column_sum


class NumpyNormalization(NumpyBase):
    """Batch norm in two walks over memory: statistics, then the affine map."""

    def batch_norm(
        self, x: FloatArray, gamma: FloatArray, beta: FloatArray, eps: float, relu: bool = False
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        mean, variance = self._statistics(by_channel(x))
        return self.batch_norm_inference(x, gamma, beta, mean, variance, eps, relu), mean, variance

    def batch_norm_inference(
        self,
        x: FloatArray,
        gamma: FloatArray,
        beta: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        eps: float,
        relu: bool = False,
    ) -> FloatArray:
        y = self.memory.empty(x.shape, x.dtype)
        rows, out = by_channel(x), by_channel(y)
        scale = gamma / np.sqrt(variance + x.dtype.type(eps))

        def run(piece: slice) -> None:
            # Subtract first: folding the mean into the offset would cancel badly where mean >> deviation.
            np.subtract(rows[piece], mean, out=out[piece])
            out[piece] *= scale
            out[piece] += beta
            if relu:
                np.maximum(out[piece], 0, out=out[piece])

        self.workers.map(run, self.channel_pieces(*rows.shape))
        return y

    def batch_norm_backward(
        self,
        dy: FloatArray,
        x: FloatArray,
        gamma: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        eps: float,
        y: FloatArray | None = None,
        relu_before: bool = False,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        dx = self.memory.empty(x.shape, x.dtype)
        rows, out = by_channel(x), by_channel(dx)
        work = self.channel_pieces(*rows.shape)

        def gradient(piece: slice) -> FloatArray:
            given = by_channel(dy)[piece]
            return given if y is None else given * (by_channel(y)[piece] > 0)

        def reduce(piece: slice) -> tuple[FloatArray, FloatArray]:
            counted = gradient(piece)
            centred = rows[piece] - mean
            centred *= counted
            return column_sum(counted), column_sum(centred)

        sums = self.workers.map(reduce, work)
        dbeta = np.add.reduce([first for first, _ in sums])
        centred_sum = np.add.reduce([second for _, second in sums])
        dgamma, slope, level, scale = gradient_factors(dbeta, centred_sum, gamma, variance, eps, len(rows))

        def run(piece: slice) -> None:
            centred = np.subtract(rows[piece], mean, out=out[piece])
            centred *= slope
            centred += level
            centred += gradient(piece) * scale
            if relu_before:
                centred *= rows[piece] > 0

        self.workers.map(run, work)
        return dx, dgamma, dbeta

    def running_average(self, running: FloatArray, current: FloatArray, momentum: float) -> None:
        running *= running.dtype.type(momentum)
        running += current * running.dtype.type(1 - momentum)

    def _statistics(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and biased variance of rows (m, c), in one walk over memory.

        Each piece has its own mean and squared deviations; they merge pairwise in float64 (Chan, Golub & LeVeque
        1979), so that a large mean cannot swallow a small variance.
        """

        def run(piece: slice) -> tuple[int, FloatArray, FloatArray]:
            block = rows[piece]
            mean, rest, squares = self._piece_statistics(block)
            # What the rounding of the mean left over belongs to the mean, not to the variance.
            rest = rest.astype(np.float64)
            return len(block), mean + rest, squares.astype(np.float64) - len(block) * rest * rest

        count, mean, squares = 0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
        for size, piece_mean, piece_squares in self.workers.map(run, self.channel_pieces(*rows.shape)):
            delta = piece_mean - mean
            total = count + size
            mean += delta * (size / total)
            squares += piece_squares + delta * delta * (count * size / total)
            count = total
        return mean.astype(rows.dtype), (squares / count).astype(rows.dtype)

    def _piece_statistics(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean (c,) of rows (m, c), the mean of the deviations from it, and the sum of their squares."""
        mean = column_sum(rows) / rows.dtype.type(len(rows))
        centred = rows - mean
        rest = column_sum(centred) / rows.dtype.type(len(rows))
        centred *= centred
        return mean, rest, column_sum(centred)


def gradient_factors(
    dbeta: FloatArray, centred: FloatArray, gamma: FloatArray, variance: FloatArray, eps: float, count: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """dgamma (c,), and the factors (c,) of dx = (x - mean) * slope + level + dy * scale.

    `centred` is the sum of dy * (x - mean) over `count` rows. dx is gamma / std * (dy - mean(dy) - normalised *
    mean(dy * normalised)).
    """
    inverse = 1 / np.sqrt(variance + variance.dtype.type(eps))
    dgamma, scale = centred * inverse, gamma * inverse
    return dgamma, -scale * inverse * dgamma / count, -scale * dbeta / count, scale
