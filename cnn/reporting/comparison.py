"""Paired comparison: of two classifiers on the same images, and of two recipes over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its modules are imported at their first use
from numpy.typing import NDArray

from cnn.reporting.intervals import Interval, mean_interval, welch_interval


@dataclass(frozen=True)
class PairedCounts:
    """On how many images two classifiers, A and B, are right."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @classmethod
    def of(cls, right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> PairedCounts:
        """Count from whether each is right on each image, (n,) bool, in the same order."""
        if right_a.shape != right_b.shape or right_a.ndim != 1 or not len(right_a):
            raise ValueError(f"the answers must be two vectors of one length, not {right_a.shape} and {right_b.shape}")
        pairs = ((right_a & right_b), (right_a & ~right_b), (~right_a & right_b), (~right_a & ~right_b))
        return cls(*(int(each.sum()) for each in pairs))

    @property
    def images(self) -> int:
        """All images."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """The accuracy of A minus that of B."""
        return (self.only_a - self.only_b) / self.images

    def p_value(self) -> float:
        """McNemar's exact test (McNemar 1947): of the images on which only one is right, either is it by chance 1/2.

        Two-sided; 1 if there are no such images.
        """
        discordant = self.only_a + self.only_b
        return float(scipy.stats.binomtest(self.only_a, discordant, 0.5).pvalue) if discordant else 1.0

    def interval(self, confidence: float = 0.95) -> Interval:
        """The interval of `difference`: Wald's with one image more for each classifier (Bonett & Price 2012).

        Unlike Wald's own it holds its level in small samples, and has a width if the two never differ.
        """
        a, b = ((count + 1) / (self.images + 2) for count in (self.only_a, self.only_b))
        deviation = math.sqrt((a + b - (a - b) ** 2) / (self.images + 2))
        reach = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * deviation
        return max(a - b - reach, -1.0), min(a - b + reach, 1.0)

    def as_dict(self) -> dict[str, Any]:
        """Counts, difference, interval and p-value in types of JSON."""
        return {
            "both_right": self.both,
            "only_a_right": self.only_a,
            "only_b_right": self.only_b,
            "both_wrong": self.neither,
            "images": self.images,
            "difference": self.difference,
            "interval": list(self.interval()),
            "p_value": self.p_value(),
        }


@dataclass(frozen=True)
class SeedDifference:
    """The mean score of recipe A minus that of recipe B, over seeds."""

    value: float
    interval: Interval  # Student's t, 95 %
    paired: bool  # by seed

    @classmethod
    def of(cls, a: Mapping[int, float], b: Mapping[int, float]) -> SeedDifference:
        """From the scores by seed, at least two each.

        With the same seeds, the interval is that of the differences by seed. With other seeds, it is Welch's.
        """
        if set(a) == set(b):
            mean = mean_interval([a[seed] - b[seed] for seed in a])
            return cls(mean.value, mean.interval, True)
        first, second = list(a.values()), list(b.values())
        return cls(float(np.mean(first) - np.mean(second)), welch_interval(first, second), False)
