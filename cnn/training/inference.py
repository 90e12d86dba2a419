"""Runs a model on all images of a split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import InferenceModel, Model
from cnn.training.batches import BatchMaker
from cnn.training.views import Matrix
from foundation.scores import log_loss


def predict_probabilities(
    model: Model | InferenceModel,
    images: Array,
    batches: BatchMaker,
    batch_size: int,
    advance: Callable[[int], None] = lambda _: None,
    views: Sequence[Matrix | None] = (None,),
) -> NDArray[Any]:
    """Class probabilities (n, classes) float32 for images (n, h, w, c) uint8 or float32: the mean over the views.

    By default images are unaugmented; `ViewSettings.views` gives other views.

    For repeated calls with the same weights, create an `InferenceModel` once. For the same images in every epoch, use
    `Scoring`.
    """
    network, parts = model if isinstance(model, InferenceModel) else InferenceModel(model), []
    indices = model.ops.array(np.arange(len(images)))
    for start in range(0, len(images), batch_size):
        some = indices[start : start + batch_size]
        seen = []
        for view in views:
            x = batches.plain(images, some) if view is None else batches.viewed(images, some, view)
            seen.append(model.ops.to_numpy(model.ops.softmax(network.forward(x))))
        parts.append(np.mean(seen, axis=0, dtype=np.float64).astype(seen[0].dtype))
        advance(len(some))
    return np.concatenate(parts)


class Scoring:
    """Class probabilities of the same images again and again, with a model's weights at the time of each call.

    Where the backend replays, a batch is captured, one function per batch size. So the network's weights stay in their
    arrays, and the indices of a batch are selected on the backend, by a clock as in training. The results are those of
    `predict_probabilities`.
    """

    def __init__(self, model: Model, images: Array, batches: BatchMaker, batch_size: int) -> None:
        """images (n, h, w, c) uint8 or float32 are on the backend, and are scored in batches of `batch_size`."""
        self.model, self.images, self.batches, self.batch_size = model, images, batches, batch_size
        self.ops, count = model.ops, len(images)
        self._network: InferenceModel | None = None
        self._recorded: dict[int, Callable[[], Array]] = {}
        integers, floats = np.dtype(np.int64), np.dtype(np.float32)
        self._order, self._clock = self.ops.array(np.arange(count)), self.ops.zeros((3,), integers)
        # The other arguments of `next_batch`, which scoring ignores.
        self._labels = self.ops.zeros((count,), integers)
        self._schedule = self.ops.zeros((-(-count // batch_size), 1), floats)
        self._numbers = self.ops.zeros((1,), floats)

    def __call__(self, advance: Callable[[int], None] = lambda _: None) -> NDArray[Any]:
        """Probabilities (n, classes) float32; `advance` is called with the size of each batch."""
        if self._network is not None and self.ops.replays:
            self._network.refresh(self.model)
        else:
            self._network = InferenceModel(self.model)
        self.ops.copy_in(self._clock, np.zeros(3, np.int64))
        parts = []
        for start in range(0, len(self.images), self.batch_size):
            count = min(self.batch_size, len(self.images) - start)
            if count not in self._recorded:
                self._recorded[count] = self.ops.capture(functools.partial(self._batch, count))
            # A copy, because the next batch may overwrite the array.
            parts.append(np.array(self.ops.to_numpy(self._recorded[count]())))
            advance(count)
        return np.concatenate(parts)

    def _batch(self, count: int) -> Array:
        """The probabilities of the next `count` images."""
        assert self._network is not None
        state = self._order, self._schedule, self._labels, self._clock, self._numbers
        indices, _ = self.ops.next_batch(*state, count)
        return self.ops.softmax(self._network.forward(self.batches.plain(self.images, indices)))


def loss_and_accuracy(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Log loss in nats, as defined in `foundation.scores`, and the fraction of correct predictions."""
    return log_loss(labels, probabilities), float((probabilities.argmax(axis=1) == labels).mean())
