"""The charts of the pages: curves of training and the reliability diagram, each with a sentence of what is seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cnn.reporting.calibration import Reliability
from cnn.reporting.metrics_csv import best_row, is_number
from cnn.reporting.svg import Axis, Chart, Points

History = Sequence[Mapping[str, Any]]
_DOTS = 20  # epochs up to which each has a dot
_FLAT, _DASHED = "", "5 3"


@dataclass(frozen=True)
class Drawn:
    """A chart with its caption."""

    caption: str
    svg: Markup


@dataclass(frozen=True)
class Curve:
    """A value of each epoch; NaN where none was measured."""

    label: str
    kind: str  # its colour
    dashes: str
    points: Points


def learning_curves(history: History, best_epoch: int | None = None) -> list[Drawn]:
    """Loss, accuracy and learning rate by epoch; the best epoch is marked."""
    if not history:
        return []
    best = best_row(history, best_epoch)
    found = []
    for key, caption, text in (("loss", "Loss", plain), ("accuracy", "Accuracy", percent)):
        curves = [
            Curve("training", "blue", _DASHED, points_of(history, f"train_{key}")),
            Curve("validation", "orange", _FLAT, points_of(history, f"val_{key}")),
        ]
        mark = None if best is None else (best["epoch"], best.get(f"val_{key}"))
        drawn = curve_chart(f"curve-{key}", caption, [each for each in curves if measured(each)], text, mark)
        if drawn is not None:
            found.append(drawn)
    rates = Curve("", "ink", _FLAT, points_of(history, "learning_rate"))
    if (drawn := curve_chart("curve-rate", "Learning rate", [rates], plain, None, log=False)) is not None:
        found.append(drawn)
    return found


def curve_chart(
    name: str,
    caption: str,
    curves: Sequence[Curve],
    text: Callable[[float], str],
    mark: tuple[float, float | None] | None,
    log: bool = True,
) -> Drawn | None:
    """Curves over epochs in one chart, with `mark` (epoch, value) as the best; None without a measured value.

    With `log` the vertical axis is logarithmic if the largest value is far above the least.
    """
    values = [y for curve in curves for _, y in curve.points if is_number(y)]
    if not values:
        return None
    epochs = [x for curve in curves for x, _ in curve.points]
    first, last = min(epochs), max(epochs)
    margin = max(0.5, 0.03 * (last - first))
    x = Axis(first - margin, last + margin, "epoch", lambda value: f"{value:.0f}", whole=True)
    said = "; ".join(_in_words(curve, text) for curve in curves if measured(curve))
    if mark is not None and mark[1] is not None:
        said += f". The best epoch is {mark[0]:.0f}, with {text(mark[1])}"
    chart = Chart(name, caption, f"{said}.", x, _range(values, text, log))
    if mark is not None:
        chart.upright(mark[0])
    for curve in curves:
        dots = len(curve.points) <= _DOTS
        chart.line(curve.points, curve.kind, curve.label, curve.dashes, dots)
    if mark is not None and mark[1] is not None and is_number(mark[1]):
        chart.dot(mark[0], float(mark[1]), curves[-1].kind)
    return Drawn(caption, chart.markup)


def reliability_diagram(reliability: Reliability, split: str) -> Drawn:
    """Accuracy by confidence as bars, beside the diagonal on which both are equal."""
    used = [number for number, images in enumerate(reliability.images) if images]
    top, widest = reliability.images.size, max(used, key=lambda number: reliability.images[number])
    said = (
        f"{reliability_sentence(reliability, split)} {reliability.images[widest]:,} of {reliability.images.sum():,} "
        f"images have a confidence from {percent(widest / top)} to {percent((widest + 1) / top)}; of these "
        f"{percent(float(reliability.accuracy[widest]))} are right."
    )
    x, y = Axis(0, 1, "confidence: probability of the prediction", percent), Axis(0, 1, "accuracy", percent)
    chart = Chart("reliability", "Reliability", said, x, y)
    for number in used:
        chart.bar(number / top, (number + 1) / top, float(reliability.accuracy[number]), "blue")
    chart.line([(0, 0), (1, 1)], "ink", "as sure as it is right", _DASHED)
    return Drawn("Accuracy by confidence", chart.markup)


def reliability_sentence(reliability: Reliability, split: str) -> str:
    """What the diagram shows, for everyone."""
    mean, right = (
        float(reliability.images @ each / reliability.images.sum())
        for each in (reliability.confidence, reliability.accuracy)
    )
    kind = (
        "too sure" if mean > right + 0.005 else "not sure enough" if mean < right - 0.005 else "as sure as it should be"
    )
    return (
        f"The network is {kind}: its mean confidence is {100 * mean:.1f} %, and {100 * right:.1f} % of its predictions "
        f"on the {split} split are right. The expected calibration error is {reliability.error:.3f}."
    )


def points_of(history: History, key: str) -> list[tuple[float, float]]:
    """A column of `metrics.csv` by epoch."""
    return [(row["epoch"], float(row[key]) if is_number(row.get(key)) else math.nan) for row in history]


def measured(curve: Curve) -> bool:
    """Whether any epoch has a value."""
    return any(is_number(y) for _, y in curve.points)


def _in_words(curve: Curve, text: Callable[[float], str]) -> str:
    there = [(x, y) for x, y in curve.points if is_number(y)]
    (first, begin), (last, end) = there[0], there[-1]
    what = f"{curve.label}: " if curve.label else ""
    if first == last:
        return f"{what}{text(begin)} in epoch {first:.0f}"
    return f"{what}{text(begin)} in epoch {first:.0f}, {text(end)} in epoch {last:.0f}"


def _range(values: Sequence[float], text: Callable[[float], str], log: bool) -> Axis:
    """From zero for values of one size, logarithmic for a largest value far above the least; accuracies as they lie."""
    low, high = min(values), max(values)
    if text is percent:
        margin = max(0.02, 0.06 * (high - low))
        return Axis(max(0.0, low - margin), min(1.0, high + margin), text=text)
    if log and 0 < 50 * low < high:
        return Axis(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)), text=text, log=True)
    return Axis(min(0.0, low), 1.06 * high if high > 0 else 1.0, text=text)


def percent(value: float) -> str:
    """A fraction with three digits, as percent."""
    return f"{100 * value:.3g} %"


def plain(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}"
