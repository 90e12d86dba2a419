"""scikit-learn's text report: precision, recall, F1 and support of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.reporting.metrics import predict_classes
from foundation.files import write_text


def write_classification_report(
    path: Path, labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]
) -> str:
    """Write the report of `labels` (N,) int and `probabilities` (N, K) float to `path`, and return its text."""
    text = classification_text(labels, probabilities, classes)
    write_text(path, text)
    return text


def classification_text(labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]) -> str:
    """The report of `labels` (N,) int and `probabilities` (N, K) float."""
    from sklearn.metrics import classification_report  # noqa: PLC0415 - slow to import

    text: str = classification_report(
        labels,
        predict_classes(labels, probabilities, classes),
        labels=range(len(classes)),  # with a row for a class without images in this split
        target_names=list(classes),
        digits=4,
        zero_division=0,
    )
    missing = [name for number, name in enumerate(classes) if not np.any(np.asarray(labels) == number)]
    if missing:
        text += f"\nThe averages count {', '.join(missing)} as 0, without images here; macro F1 leaves these out.\n"
    return text
