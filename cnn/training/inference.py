"""Runs a model on all images of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import InferenceModel, Model
from cnn.training.batches import BatchMaker
from foundation.scores import log_loss


def predict_probabilities(
    model: Model | InferenceModel,
    images: Array,
    batches: BatchMaker,
    batch_size: int,
    advance: Callable[[int], None] = lambda _: None,
) -> NDArray[Any]:
    """Class probabilities (n, classes) float32 for images (n, h, w, c) uint8 or float32, unaugmented.

    For repeated calls with the same weights, create an `InferenceModel` once.
    """
    network, parts = model if isinstance(model, InferenceModel) else InferenceModel(model), []
    indices = model.ops.array(np.arange(len(images)))
    for start in range(0, len(images), batch_size):
        some = indices[start : start + batch_size]
        logits = network.forward(batches.plain(images, some))
        parts.append(model.ops.to_numpy(model.ops.softmax(logits)))
        advance(len(some))
    return np.concatenate(parts)


def loss_and_accuracy(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Log loss in nats, as defined in `foundation.scores`, and the fraction of correct predictions."""
    return log_loss(labels, probabilities), float((probabilities.argmax(axis=1) == labels).mean())
