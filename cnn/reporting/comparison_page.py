"""The comparison of two runs, or of two recipes over seeds, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.reporting.charts import Curve, Drawn, curve_chart, percent, plain, points_of
from cnn.reporting.comparison import PairedCounts, SeedDifference
from cnn.reporting.intervals import Interval
from foundation.pages import templates

_SIDES = (("A", "blue", ""), ("B", "orange", "6 3"))  # name, colour and dashes of their curves


@dataclass(frozen=True)
class Side:
    """One run, or the runs of one recipe."""

    names: Sequence[str]  # the folders
    model: str
    epochs: Sequence[int]  # the best epoch of each
    seeds: Sequence[int]
    accuracies: Sequence[float]
    histories: Sequence[Sequence[Mapping[str, Any]]]  # rows of metrics.csv; empty where there is none


@dataclass(frozen=True)
class Differing:
    """An image on which one side alone is right."""

    name: str
    label: str
    a: str  # predictions, with their probabilities
    b: str
    right: str  # A or B
    image: str = ""  # an address; empty without images


@dataclass(frozen=True)
class ClassDifference:
    """The recall of one class on both sides."""

    name: str
    images: int
    a: float
    b: float
    difference: float
    interval: Interval | None  # 95 %; None where it is not known

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def render_comparison(
    split: str,
    a: Side,
    b: Side,
    verdict: Sequence[str],
    classes: Sequence[ClassDifference],
    options: Sequence[tuple[str, str, str]],
    counts: PairedCounts | None = None,
    differing: Sequence[Differing] = (),
    total_differing: int = 0,
) -> str:
    """The page as text.

    Args:
        split: the split that was scored.
        a, b: the sides.
        verdict: sentences with the difference, its interval and the test.
        classes: the recall of each class.
        options: name, value of A and value of B of the options in which the sides differ.
        counts: of two runs: on how many images they are right.
        differing: images on which one alone is right, the clearest first.
        total_differing: how many there are of them.
    """
    return (
        templates(Path(__file__).parent / "templates")
        .get_template("comparison.html.j2")
        .render(
            split=split,
            sides=list(zip(("A", "B"), (a, b), strict=True)),
            verdict=verdict,
            classes=classes,
            options=options,
            counts=counts,
            differing=differing,
            total_differing=total_differing,
            curves=overlaid_curves(a, b),
            mean=lambda values: float(np.mean(values)),
        )
    )


def overlaid_curves(a: Side, b: Side) -> list[Drawn]:
    """Validation accuracy and loss, and training loss, of both sides by epoch; each seed is a line."""
    found = []
    for key, caption, text in (
        ("val_accuracy", "Validation accuracy", percent),
        ("val_loss", "Validation loss", plain),
        ("train_loss", "Training loss", plain),
    ):
        curves = [
            Curve(name if number == 0 else "", kind, dashes, points_of(history, key))
            for (name, kind, dashes), side in zip(_SIDES, (a, b), strict=True)
            for number, history in enumerate(history for history in side.histories if history)
        ]
        if (drawn := curve_chart(f"curve-{key.replace('_', '-')}", caption, curves, text, None)) is not None:
            found.append(drawn)
    return found


def class_differences(
    labels: NDArray[np.int64], right_a: NDArray[np.bool_], right_b: NDArray[np.bool_], classes: Sequence[str]
) -> list[ClassDifference]:
    """The recall of each class, and its paired difference on the same images; classes without images are left out."""
    found = []
    for number, name in enumerate(classes):
        own = labels == number
        if own.any():
            counts = PairedCounts.of(right_a[own], right_b[own])
            recalls = float(right_a[own].mean()), float(right_b[own].mean())
            found.append(ClassDifference(name, int(own.sum()), *recalls, counts.difference, counts.interval()))
    return found


def class_differences_of_seeds(
    labels: NDArray[np.int64],
    right_a: Mapping[int, NDArray[np.bool_]],
    right_b: Mapping[int, NDArray[np.bool_]],
    classes: Sequence[str],
) -> list[ClassDifference]:
    """The mean recall of each class over seeds, and the difference of the means."""
    found = []
    for number, name in enumerate(classes):
        own = labels == number
        if own.any():
            a, b = ({seed: float(each[own].mean()) for seed, each in side.items()} for side in (right_a, right_b))
            difference = SeedDifference.of(a, b)
            mean_a, mean_b = (float(np.mean(list(side.values()))) for side in (a, b))
            found.append(ClassDifference(name, int(own.sum()), mean_a, mean_b, difference.value, difference.interval))
    return found
