"""Scores of a classifier on one split, from its labels and the predicted probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.reporting.intervals import wilson_interval
from foundation.errors import UserError
from foundation.scores import log_loss


@dataclass(frozen=True)
class Scores:
    """The scores of a classifier on the images of one split."""

    classes: tuple[str, ...]  # K names, in the order of the label numbers
    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]  # Wilson, 95 %
    macro_f1: float  # mean of the F1 of the classes that have images in the split
    log_loss: float  # mean negative log-likelihood in nats, as foundation.scores defines it
    per_class: dict[str, dict[str, float | int]]  # name -> precision, recall, f1, support
    confusion: NDArray[np.int64]  # (K, K), row = true class, column = predicted class

    @property
    def without_images(self) -> tuple[str, ...]:
        """The classes without an image in the split, which macro F1 leaves out."""
        return tuple(name for name in self.classes if not self.per_class[name]["support"])

    @property
    def macro_f1_of(self) -> str:
        """What the macro F1 is a mean of, in words."""
        if not (missing := self.without_images):
            return f"mean of all {len(self.classes)} classes"
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        return f"mean of the {len(self.classes) - len(missing)} classes with images in this split; none of {shown}"

    def as_dict(self) -> dict[str, Any]:
        """The scores in types of JSON."""
        return {
            "classes": list(self.classes),
            "images": self.images,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "macro_f1": self.macro_f1,
            "macro_f1_of": self.macro_f1_of,
            "log_loss": self.log_loss,
            "per_class": {name: dict(row) for name, row in self.per_class.items()},
            "confusion": self.confusion.tolist(),
        }


def compute_scores(labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]) -> Scores:
    """Score `probabilities` (N, K) float against `labels` (N,) int; `classes` are the K names.

    The prediction is the most probable class, the first of them where several are equal.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support  # noqa: PLC0415 - slow to import

    labels = np.asarray(labels)
    predicted = predict_classes(labels, probabilities, classes)
    numbers = range(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=0)
    correct = int(np.count_nonzero(predicted == labels))
    return Scores(
        classes=tuple(classes),
        images=len(labels),
        accuracy=correct / len(labels),
        accuracy_interval=wilson_interval(correct, len(labels)),
        # A class without images can only lower the mean: it has no image to be right about.
        macro_f1=float(f1[support > 0].mean()),
        log_loss=log_loss(labels, probabilities),
        per_class={
            name: {
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "support": int(support[number]),
            }
            for number, name in enumerate(classes)
        },
        confusion=confusion_matrix(labels, predicted, labels=numbers).astype(np.int64),
    )


def predict_classes(labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]) -> NDArray[np.int64]:
    """The most probable class of each image, (N,) int64, after a check that the three arguments fit together."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if len(labels) == 0:
        raise UserError("there are no images to score in this split")
    if probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"probabilities are {probabilities.shape}, expected ({len(labels)}, {len(classes)}): "
            "one row per image, one column per class"
        )
    if len(set(classes)) != len(classes):
        raise ValueError(f"class names are not distinct: {list(classes)}")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, there are {len(classes)} classes")
    if not np.isfinite(probabilities).all():
        # argmax would choose a NaN, and a diverged network would get a score.
        raise UserError("the network's probabilities are not finite: training diverged, try a lower learning rate")
    return np.argmax(probabilities, axis=1).astype(np.int64)
