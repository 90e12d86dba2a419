"""Running a model over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import InferenceModel, Model
from cnn.training.augmentation import BatchMaker


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
    """Mean cross-entropy in nats, unweighted, and the share of right answers."""
    likelihood = probabilities[np.arange(len(labels)), labels]
    tiny = np.finfo(probabilities.dtype).tiny  # a float32 softmax may round to zero
    loss = -np.log(np.maximum(likelihood, tiny)).mean(dtype=np.float64)
    return float(loss), float((probabilities.argmax(axis=1) == labels).mean())
