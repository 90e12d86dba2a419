"""The files of a finished run: report, figures, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.reporting.calibration import Reliability
from cnn.reporting.classification_report import write_classification_report
from cnn.reporting.examples import Explain, examples, surest
from cnn.reporting.html_report import Augmented, DataFacts, write_report
from cnn.reporting.metrics import Scores, compute_scores
from cnn.reporting.plots import plot_confusion_matrix, plot_curves, plot_predictions
from cnn.reporting.sweeps import METRICS
from cnn.reporting.thresholds import class_thresholds
from foundation.files import write_json


@dataclass(frozen=True)
class ReportParts:
    """What a report has beyond scores and curves; each part may be missing."""

    images: bool = True  # whether images of the data are shown
    explain: Explain | None = None
    node: str = ""  # the feature map of `explain`
    validation: tuple[NDArray[np.int64], NDArray[Any]] | None = None  # labels and probabilities, for thresholds
    data: DataFacts | None = None
    augmented: Sequence[Augmented] = ()
    command: str = ""


def write_run_files(
    folder: Path,
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    history: Sequence[Mapping[str, Any]],
    best_epoch: int,
    metrics: Mapping[str, Any],
    baselines: Mapping[str, float],
    summary_rows: Sequence[Mapping[str, Any]],
    configuration: str,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
    more_baselines: Callable[[], Mapping[str, float]] = dict,
    parts: ReportParts = ReportParts(),
) -> Scores:
    """Write the files of a run that was scored on its test split.

    `images` (n, h, w, c), `labels` (n,) and `probabilities` (n, classes) are those of the test split. `metrics` has the
    entries of `metrics.json` besides the scores. Returns the scores. `metrics.json` is written last, so that its
    presence marks a finished run. `more_baselines` is called when all files are there, and what it returns is added to
    them: a baseline that takes long or fails costs no result. Without `parts.images` no file shows an image.
    """
    scores = compute_scores(labels, probabilities, classes)
    text = write_classification_report(folder / "classification_report.txt", labels, probabilities, classes)
    plot_curves(history, folder / "curves.png", best_epoch)
    plot_confusion_matrix(scores.confusion, classes, folder / "confusion_matrix.png")
    thresholds = []
    if parts.validation is not None:
        thresholds = class_thresholds(parts.validation, (labels, probabilities), classes)
    mistakes, hits = [], []
    if parts.images:
        plot_predictions(images, labels, probabilities, classes, folder / "predictions.png")
        mistakes, hits = (
            examples(chosen, images, labels, probabilities, classes, parts.explain)
            for chosen in surest(labels, probabilities)
        )

    def write(baselines: Mapping[str, float]) -> None:
        write_report(
            folder / "report.html",
            f"{metrics['model']} on {metrics['data']}",
            scores.as_dict(),
            summary_rows,
            history,
            text,
            configuration,
            {**provenance, "seed": metrics["seed"], "data pack": metrics["pack_hash"]},
            notes,
            split="test",
            baselines=baselines,
            best_epoch=best_epoch,
            mistakes=mistakes,
            hits=hits,
            node=parts.node,
            reliability=Reliability.of(labels, probabilities),
            thresholds=thresholds,
            data=parts.data,
            augmented=parts.augmented,
            command=parts.command,
        )
        write_json(
            folder / METRICS,
            {
                **metrics,
                "test_accuracy": scores.accuracy,
                "test_accuracy_interval": list(scores.accuracy_interval),
                "test_images": scores.images,
                "test_log_loss": scores.log_loss,
                "macro_f1": scores.macro_f1,
                "macro_f1_of": scores.macro_f1_of,
                "per_class": scores.per_class,
                "confusion": scores.confusion.tolist(),  # (classes, classes): row = label, column = prediction
                "thresholds": [each.as_dict() for each in thresholds],
                "baselines": dict(baselines),
                "versions": provenance["versions"],
                "provenance": dict(provenance),
            },
        )

    write(baselines)
    if more := more_baselines():
        write({**baselines, **more})
    return scores
