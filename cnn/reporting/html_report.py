"""The HTML report of a run: one self-contained file, for wide and narrow screens, light and dark mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn.reporting.calibration import Reliability
from cnn.reporting.charts import learning_curves, reliability_diagram, reliability_sentence
from cnn.reporting.examples import Example
from cnn.reporting.metrics_csv import best_row
from cnn.reporting.thresholds import PRECISION, ClassThresholds, shown
from foundation.files import write_text
from foundation.pages import templates

MATRIX = 20  # classes up to which the confusion matrix is a table
_CONFUSIONS = 40  # that are listed where it is not


@dataclass(frozen=True)
class Augmented:
    """A training image and what augmentation made of it, as addresses of images."""

    label: str
    original: str
    draws: Sequence[str]


@dataclass(frozen=True)
class DataFacts:
    """The data of a run, for its report."""

    splits: Mapping[str, Sequence[int]]  # split -> images of each class
    copies: Mapping[str, int]  # split -> how many of them are augmented copies that the merge added
    verdict: str = ""  # of the audit, in a sentence; empty without one
    leaks: bool | None = False  # a validation or test image has a duplicate in training; None: only in validation
    augmentation: str = ""  # in words


def write_report(path: Path, *arguments: Any, **options: Any) -> None:
    """Write the report to `path`; the arguments are those of `render_report`."""
    write_text(path, render_report(*arguments, **options))


def render_report(
    title: str,
    scores: Mapping[str, Any],
    summary_table: Sequence[Mapping[str, Any]] = (),
    history: Sequence[Mapping[str, Any]] = (),
    classification_report: str = "",
    configuration_yaml: str = "",
    provenance: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    *,
    split: str = "test",
    baselines: Mapping[str, float] | None = None,
    best_epoch: int | None = None,
    mistakes: Sequence[Example] = (),
    hits: Sequence[Example] = (),
    node: str = "",
    reliability: Reliability | None = None,
    thresholds: Sequence[ClassThresholds] = (),
    data: DataFacts | None = None,
    augmented: Sequence[Augmented] = (),
    command: str = "",
) -> str:
    """The report as the text of an HTML file. Equal arguments give equal text.

    Args:
        title: the heading.
        scores: `Scores.as_dict()` of the split named by `split`.
        summary_table: rows with `layer`, `output_shape`, `parameters`, `mflops`.
        history: the rows of `metrics.csv`, drawn as curves.
        classification_report: scikit-learn's report as text.
        configuration_yaml: the composed configuration.
        provenance: the result of `collect_provenance`, and other entries; may be nested.
        notes: sentences for the reader, shown under the headline.
        split: the split that was scored.
        baselines: name -> accuracy of a simple classifier on the same split.
        best_epoch: the epoch whose weights were scored; None: that of the highest validation accuracy.
        mistakes, hits: the surest ones, with images. They are the user's data, so a report may be without.
        node: the feature map that the maps over the images come from.
        reliability: of the split, as a diagram.
        thresholds: of the classes, chosen on validation.
        data: the sizes of the splits, and the verdict of the audit.
        augmented: training images as training saw them.
        command: what repeats the run.
    """
    return (
        templates(Path(__file__).parent / "templates")
        .get_template("report.html.j2")
        .render(
            title=title,
            split=split,
            scores=scores,
            bars=_bars(scores, baselines or {}),
            classes=_class_rows(scores),
            matrix=_matrix(scores) if len(scores["per_class"]) <= MATRIX else [],
            confusions=_confusions(scores) if len(scores["per_class"]) > MATRIX else [],
            best=best_row(history, best_epoch),
            epochs=len(history),
            duration=_duration(history),
            curves=learning_curves(history, best_epoch),
            mistakes=mistakes,
            hits=hits,
            node=node,
            reliability=None if reliability is None else reliability_diagram(reliability, split),
            reliability_sentence="" if reliability is None else reliability_sentence(reliability, split),
            thresholds=thresholds,
            strict=PRECISION,
            data=None if data is None else _data(data, list(scores["per_class"])),
            augmented=augmented,
            command=command,
            summary_table=summary_table,
            shape=_shape,
            parameters=sum(row["parameters"] for row in summary_table),
            mflops=sum(row["mflops"] for row in summary_table),
            classification_report=classification_report,
            configuration_yaml=configuration_yaml,
            provenance=list(_flatten(provenance or {})),
            notes=notes,
            percent=percent,
            width=lambda fraction: f"{100 * min(max(float(fraction), 0.0), 1.0):.1f}%",  # in CSS
            shown=shown,
        )
    )


def percent(fraction: float) -> str:
    """A fraction as people write it."""
    return f"{100 * fraction:.1f} %"


def _bars(scores: Mapping[str, Any], baselines: Mapping[str, float]) -> list[dict[str, Any]]:
    """The network and the baselines, best first."""
    bars = [{"name": name, "accuracy": accuracy, "own": False} for name, accuracy in baselines.items()]
    bars.append({"name": "this network", "accuracy": scores["accuracy"], "own": True})
    return sorted(bars, key=lambda bar: -bar["accuracy"])


def _class_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores of each class, and the wrong class most often predicted for its images."""
    rows = []
    names = list(scores["per_class"])
    for number, (name, row) in enumerate(scores["per_class"].items()):
        mistaken = {
            other: count
            for column, (other, count) in enumerate(zip(names, scores["confusion"][number], strict=True))
            if column != number and count
        }
        other = max(mistaken, key=lambda each: mistaken[each], default=None)
        rows.append({"name": name, **row, "predicted_as": other, "times": mistaken.get(other or "", 0)})
    return rows


def _matrix(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the confusion matrix: counts, and their fractions of the row."""
    rows = []
    for name, counts in zip(scores["per_class"], scores["confusion"], strict=True):
        total = sum(counts)
        rows.append({"name": name, "images": total, "cells": [(count, count / max(total, 1)) for count in counts]})
    return rows


def _confusions(scores: Mapping[str, Any]) -> list[tuple[str, str, int, float]]:
    """The most frequent confusions: label, prediction, images, and their fraction of the label's images."""
    names = list(scores["per_class"])
    found = [
        (names[row], names[column], count, count / sum(counts))
        for row, counts in enumerate(scores["confusion"])
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(found, key=lambda each: -each[2])[:_CONFUSIONS]


def _data(data: DataFacts, classes: Sequence[str]) -> dict[str, Any]:
    rows = [(name, [counts[number] for counts in data.splits.values()]) for number, name in enumerate(classes)]
    sums = [sum(counts) for counts in data.splits.values()]
    return {
        "splits": list(data.splits),
        "rows": rows,
        "sums": sums,
        "copies": {split: count for split, count in data.copies.items() if count},
        "verdict": data.verdict,
        "leaks": data.leaks,
        "augmentation": data.augmentation,
    }


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested provenance as lines `machine · cores`, value."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{name} · ")
        elif isinstance(item, list | tuple):
            yield name, ", ".join(map(str, item))
        else:
            yield name, _as_text(item)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _shape(shape: Any) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, shape)) if isinstance(shape, list | tuple) else str(shape)


def _duration(history: Sequence[Mapping[str, Any]]) -> str:
    """The time of all epochs as text, empty if it was not measured."""
    seconds = sum(row.get("seconds") or 0.0 for row in history)
    if seconds <= 0:
        return ""
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60:.0f} s" if minutes else f"{seconds:.0f} s"
