"""For each class the probability from which its answers are taken: chosen on validation, scored on other images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRECISION = 0.9  # that the stricter of both thresholds had on validation


@dataclass(frozen=True)
class Threshold:
    """A probability of a class, and what it gives on the scored images."""

    value: float
    precision: float | None  # of the images from this probability on, the fraction of the class; None without such
    recall: float | None  # of the images of the class, the fraction that is found; None without images of the class
    images: int  # that have this probability or more


@dataclass(frozen=True)
class ClassThresholds:
    """The thresholds of one class; None where validation has none."""

    name: str
    balanced: Threshold | None  # of the highest F1 on validation
    strict: Threshold | None  # the lowest with a precision of `PRECISION` on validation

    def as_dict(self) -> dict[str, Any]:
        """In types of JSON."""
        return asdict(self)


def class_thresholds(
    chosen_on: tuple[NDArray[Any], NDArray[Any]], scored_on: tuple[NDArray[Any], NDArray[Any]], classes: Sequence[str]
) -> list[ClassThresholds]:
    """The thresholds of each class against all others.

    Both arguments are labels (n,) and probabilities (n, classes): thresholds are chosen on the first and scored on the
    second. They have three digits, so that what a page shows is what was scored.
    """
    found = []
    for number, name in enumerate(classes):
        own = chosen_on[0] == number, np.asarray(chosen_on[1], np.float64)[:, number]
        new = scored_on[0] == number, np.asarray(scored_on[1], np.float64)[:, number]
        balanced, strict = _chosen(*own)
        found.append(ClassThresholds(name, *(None if at is None else _scored(at, *new) for at in (balanced, strict))))
    return found


def _chosen(of_class: NDArray[np.bool_], probability: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The threshold of the highest F1, and the lowest of sufficient precision."""
    if not of_class.any():
        return None, None
    values = np.unique(np.floor(probability * 1000) / 1000)[::-1]  # highest first
    # Images from each value on: the places behind it in the order of probability.
    order = np.sort(probability)
    of_it = np.sort(probability[of_class])
    taken = len(order) - np.searchsorted(order, values)
    hits = len(of_it) - np.searchsorted(of_it, values)
    f1 = 2 * hits / (taken + len(of_it))
    enough = (hits >= PRECISION * taken) & (hits > 0)
    strict = float(values[np.flatnonzero(enough)[-1]]) if enough.any() else None
    return float(values[f1.argmax()]), strict


def _scored(at: float, of_class: NDArray[np.bool_], probability: NDArray[np.float64]) -> Threshold:
    taken = probability >= at
    hits, images = int((taken & of_class).sum()), int(taken.sum())
    precision = hits / images if images else None
    recall = hits / int(of_class.sum()) if of_class.any() else None
    return Threshold(at, precision, recall, images)


def shown(value: float | None) -> str:
    """A fraction for a table, a dash for none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"
