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

        self.workers.map(
            lambda piece: self._affine_map(rows[piece], mean, scale, beta, relu, out[piece]),
            self.channel_pieces(*rows.shape),
        )
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
        rows, given, out = by_channel(x), by_channel(dy), by_channel(dx)
        last = None if y is None else by_channel(y)
        work = self.channel_pieces(*rows.shape)

        def behind(piece: slice) -> FloatArray | None:
            return None if last is None else last[piece]

        sums = self.workers.map(lambda piece: self._gradient_sums(given[piece], rows[piece], mean, behind(piece)), work)
        dbeta, centred = np.add.reduce(sums)
        dgamma, slope, level, scale = gradient_factors(dbeta, centred, gamma, variance, eps, len(rows))

        def run(piece: slice) -> None:
            self._input_gradient(
                given[piece], rows[piece], mean, slope, level, scale, behind(piece), relu_before, out=out[piece]
            )

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

    # --- the passes over a piece of rows (m, c) that a compiled backend does in one walk each ------------------------

    def _affine_map(
        self, rows: FloatArray, mean: FloatArray, scale: FloatArray, beta: FloatArray, relu: bool, out: FloatArray
    ) -> None:
        """(rows - mean) * scale + beta, then a ReLU if asked for."""
        # Subtract first: folding the mean into the offset would cancel badly where mean >> deviation.
        np.subtract(rows, mean, out=out)
        out *= scale
        out += beta
        if relu:
            np.maximum(out, 0, out=out)

    def _gradient_sums(self, dy: FloatArray, rows: FloatArray, mean: FloatArray, y: FloatArray | None) -> FloatArray:
        """Sums (2, c) of dy and of dy * (rows - mean); with y only where it is positive."""
        counted = _behind_relu(dy, y)
        centred = rows - mean
        centred *= counted
        return np.stack([column_sum(counted), column_sum(centred)])

    def _input_gradient(
        self,
        dy: FloatArray,
        rows: FloatArray,
        mean: FloatArray,
        slope: FloatArray,
        level: FloatArray,
        scale: FloatArray,
        y: FloatArray | None,
        relu_before: bool,
        out: FloatArray,
    ) -> None:
        """(rows - mean) * slope + level + dy * scale; dy only where y > 0, the result only where rows > 0."""
        np.subtract(rows, mean, out=out)
        out *= slope
        out += level
        out += _behind_relu(dy, y) * scale
        if relu_before:
            out *= rows > 0

    def _piece_statistics(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean (c,) of rows (m, c), the mean of the deviations from it, and the sum of their squares."""
        mean = column_sum(rows) / rows.dtype.type(len(rows))
        centred = rows - mean
        rest = column_sum(centred) / rows.dtype.type(len(rows))
        centred *= centred
        return mean, rest, column_sum(centred)


def _behind_relu(dy: FloatArray, y: FloatArray | None) -> FloatArray:
    return dy if y is None else dy * (y > 0)


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
