"""Running a model over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import InferenceModel, Model
from cnn.training.augmentation import BatchMaker
from foundation.scores import log_loss


def predict_probabilities(
    model: Model,
    images: Array,
    batches: BatchMaker,
    batch_size: int,
    advance: Callable[[int], None] = lambda _: None,
) -> NDArray[Any]:
    """Class probabilities (n, classes) float32 for images (n, h, w, c) uint8, unaugmented."""
    network, parts = InferenceModel(model), []
    for start in range(0, len(images), batch_size):
        indices = np.arange(start, min(start + batch_size, len(images)))
        logits = network.forward(batches.plain(images, indices))
        parts.append(model.ops.to_numpy(model.ops.softmax(logits)))
        advance(len(indices))
    return np.concatenate(parts)


def loss_and_accuracy(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Log loss in nats, as `foundation.scores` defines it, and the fraction of right answers."""
    return log_loss(labels, probabilities), float((probabilities.argmax(axis=1) == labels).mean())
