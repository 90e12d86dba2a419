"""Normalisation by the statistics of a batch, or of each example's groups of channels."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Array
from cnn.backends.reference.arrays import FloatArray, column_sum, into, rows_of


class Normalization:
    """Batch norm (Ioffe & Szegedy 2015) in parts, and group norm (Wu & He 2018)."""

    def moments(self, x: Array, out: Array | None = None) -> Array:
        """Mean and biased variance of x (..., c) per channel: (2, c), in `out` if it is given.

        They are as in exact arithmetic, rounded once, also for a mean much larger than the deviation. A variance that
        is too large for x's dtype (float32: values beyond about 1e19) is infinite, and `normalize` then returns beta.
        """
        rows = rows_of(x).astype(np.float64)
        mean = rows.mean(axis=0)
        variance = ((rows - mean) ** 2).mean(axis=0)
        with np.errstate(over="ignore"):
            return into(out, np.stack([mean, variance]).astype(x.dtype))

    def normalize(self, x: Array, gamma: Array, beta: Array, moments: Array, eps: float) -> Array:
        """(x - mean) / sqrt(variance + eps) * gamma + beta for x (..., c), moments (2, c), gamma and beta (c,)."""
        # The mean is subtracted first, because with the mean in the offset digits cancel if mean >> deviation.
        return (x - moments[0]) * _scale(gamma, moments, eps) + beta

    def normalize_backward(
        self,
        dy: Array,
        x: Array,
        gamma: Array,
        moments: Array,
        eps: float,
        batch: bool,
        out: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array, Array]:
        """Gradients (dx like x, dgamma (c,), dbeta (c,)), the last two in `out` if it is given.

        With `batch` the moments are those of x itself, and the gradient flows through them.
        """
        rows, given = rows_of(x - moments[0]), rows_of(dy)
        inverse = 1 / np.sqrt(moments[1] + x.dtype.type(eps))
        dgamma, dbeta = column_sum(given * rows) * inverse, column_sum(given)
        if batch:
            self.share_sums(dgamma, dbeta)
        dx = given
        if batch:
            dx = given - dbeta / len(rows) - rows * (inverse * dgamma / len(rows))
        first, second = out or (None, None)
        return (dx * (gamma * inverse)).reshape(x.shape), into(first, dgamma), into(second, dbeta)

    def share_moments(self, moments: Array) -> None:
        """In place: moments (2, c) of this process's part of the batch become those of the whole batch.

        Here the part is all. `cnn.distributed` computes them over several processes, likewise `share_sums`.
        """

    def share_sums(self, *sums: Array) -> None:
        """In place: sums over this process's part of the batch, of gradients of its own mean loss, become those over
        the whole batch, of gradients of the mean loss of all."""

    def running_average(self, running: Array, current: Array, momentum: float) -> None:
        """In place: running = momentum * running + (1 - momentum) * current."""
        running *= running.dtype.type(momentum)
        running += current * running.dtype.type(1 - momentum)

    def group_norm(self, x: Array, gamma: Array, beta: Array, groups: int, eps: float) -> tuple[Array, Array]:
        """Normalise each example's groups of channels over pixels and channels: x (n, ..., c) to y like x.

        Returns y and the statistics (n, groups, 2): mean and biased variance. gamma and beta are (c,). One group is
        layer norm over a whole example; x reshaped to (rows, 1, c) with one group is layer norm over the channels of
        each pixel (Ba et al. 2016); groups = c is instance norm (Ulyanov et al. 2016).
        """
        grouped = _grouped(x, groups).astype(np.float64)
        mean = grouped.mean(axis=(1, 3))
        variance = ((grouped - mean[:, None, :, None]) ** 2).mean(axis=(1, 3))
        statistics = np.stack([mean, variance], axis=2).astype(x.dtype)
        return _normalized(x, statistics, eps) * gamma + beta, statistics

    def group_norm_backward(
        self,
        dy: Array,
        x: Array,
        gamma: Array,
        statistics: Array,
        groups: int,
        eps: float,
        out: tuple[Array, Array] | None = None,
    ) -> tuple[Array, Array, Array]:
        """Gradients (dx like x, dgamma (c,), dbeta (c,)), the last two in `out` if it is given."""
        normalized = _normalized(x, statistics, eps)
        dgamma, dbeta = column_sum(rows_of(dy * normalized)), column_sum(rows_of(dy))
        given, seen = _grouped(dy * gamma, groups), _grouped(normalized, groups)
        # Means over each normalised group, in float64, because they can be over millions of numbers.
        level = given.mean(axis=(1, 3), keepdims=True, dtype=np.float64)
        slope = (given * seen).mean(axis=(1, 3), keepdims=True, dtype=np.float64)
        inverse = 1 / np.sqrt(statistics[:, None, :, 1, None].astype(np.float64) + eps)
        dx = ((given - level - seen * slope) * inverse).astype(x.dtype).reshape(x.shape)
        first, second = out or (None, None)
        return dx, into(first, dgamma), into(second, dbeta)


def _scale(gamma: FloatArray, moments: FloatArray, eps: float) -> FloatArray:
    return gamma / np.sqrt(moments[1] + moments.dtype.type(eps))


def _grouped(x: FloatArray, groups: int) -> FloatArray:
    """x (n, ..., c) as (n, pixels, groups, c / groups)."""
    return x.reshape(len(x), -1, groups, x.shape[-1] // groups)


def _normalized(x: FloatArray, statistics: FloatArray, eps: float) -> FloatArray:
    """(x - mean) / sqrt(variance + eps), with statistics (n, groups, 2)."""
    mean, variance = (statistics[:, None, :, part, None] for part in range(2))
    grouped = _grouped(x, statistics.shape[1])
    return ((grouped - mean) / np.sqrt(variance + x.dtype.type(eps))).reshape(x.shape)
