"""Confidence intervals: of a fraction, of scores by resampling images, of means over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its modules are imported at their first use
from numpy.typing import NDArray

Interval = tuple[float, float]


def wilson_interval(correct: int, images: int, confidence: float = 0.95) -> Interval:
    """The Wilson interval of the fraction `correct / images`; it lies between 0 and 1 and is accurate near both."""
    interval = scipy.stats.binomtest(correct, images).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """The fraction of right predictions of a confusion matrix (K, K)."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """The mean F1 of a confusion matrix (K, K) over the classes that have images, as in `cnn.reporting.metrics`."""
    support = confusion.sum(axis=1)
    scores = 2 * np.diagonal(confusion) / np.maximum(support + confusion.sum(axis=0), 1)
    return float(scores[support > 0].mean())


def bootstrap_interval(
    confusion: NDArray[np.int64],
    statistic: Callable[[NDArray[np.int64]], float],
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The bootstrap interval of `statistic` of a confusion matrix (K, K), resampled by images.

    Bias-corrected and accelerated (BCa: Efron 1987, Better bootstrap confidence intervals). A resample of the images
    with replacement is a multinomial draw of the matrix's cells. Where all resamples agree, as when every prediction is
    right, the interval is that one value: use `wilson_interval` for an accuracy near 0 or 1.
    """
    rows, columns = np.nonzero(confusion)
    counts = confusion[rows, columns]
    images = int(counts.sum())

    def value(drawn: NDArray[np.int64]) -> float:
        matrix = np.zeros_like(confusion)
        matrix[rows, columns] = drawn
        return statistic(matrix)

    own = value(counts)
    drawn = np.random.default_rng(seed).multinomial(images, counts / images, resamples)
    values = np.array([value(each) for each in drawn])
    if values.min() == values.max():
        return own, own
    # The fraction of resamples below the statistic, ties counted half, gives the correction for bias.
    below = ((values < own).sum() + (values <= own).sum()) / (2 * resamples)
    bias = float(scipy.stats.norm.ppf(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples)))
    points = bias + scipy.stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    levels = scipy.stats.norm.cdf(bias + points / (1 - _acceleration(counts, value) * points))
    low, high = np.quantile(values, levels)
    return float(low), float(high)


def _acceleration(counts: NDArray[np.int64], value: Callable[[NDArray[np.int64]], float]) -> float:
    """BCa's acceleration from the jackknife: images of one cell have one value, so each cell is computed once."""
    if counts.sum() < 2:
        return 0.0
    cells = np.arange(len(counts))
    left_out = np.array([value(counts - (cells == cell)) for cell in cells])
    deviations = np.average(left_out, weights=counts) - left_out
    squares = float((counts * deviations**2).sum())
    return float((counts * deviations**3).sum()) / (6 * squares**1.5) if squares else 0.0


@dataclass(frozen=True)
class Mean:
    """A mean with its interval."""

    value: float
    deviation: float  # sample standard deviation (n - 1)
    interval: Interval

    def as_dict(self) -> dict[str, Any]:
        """In types of JSON."""
        return {"mean": self.value, "deviation": self.deviation, "interval": list(self.interval)}


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Mean:
    """The mean of at least two values, such as scores of several seeds, with Student's t interval (Student 1908)."""
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs at least two values, not {len(values)}")
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return Mean(mean, deviation, (mean - reach, mean + reach))


def welch_interval(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Interval:
    """The t interval of mean(first) - mean(second): independent values, at least two each (Welch 1947).

    The variances may differ.
    """
    difference = float(np.mean(first) - np.mean(second))
    variances = [float(np.var(values, ddof=1)) / len(values) for values in (first, second)]
    if not (variance := sum(variances)):
        return difference, difference
    sizes = len(first), len(second)
    freedom = variance**2 / sum(own**2 / (size - 1) for own, size in zip(variances, sizes, strict=True))
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return difference - reach, difference + reach
