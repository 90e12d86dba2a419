"""A training step on made-up data, composed as the training loop composes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from omegaconf import DictConfig

from cnn.backends import Ops
from cnn.models import build_model
from cnn.training.augmentation import AugmentSettings, BatchMaker
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.normalization import PixelScaling
from cnn.training.optimizers import build_optimizer
from foundation.entry import typed

SEED = 0


class Workload:
    """A model with its loss, its optimizer and a data set of noise that lies where the backend computes."""

    def __init__(
        self,
        config: DictConfig,
        model: Mapping[str, Any],
        ops: Ops,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        images: int,
        batch: int,
    ) -> None:
        """`config` has the groups `optimizer` and `augment`; `model` is what `conf/model/*.yaml` says."""
        self.ops, self.batch = ops, batch
        random = np.random.default_rng(SEED)
        pixels = random.integers(0, 256, (max(images, batch), *input_shape), np.uint8)
        labels = random.integers(0, classes, len(pixels))
        self.images, self.labels = ops.array(pixels), ops.array(labels)
        self.model = build_model(model, ops, input_shape, classes, SEED)
        self.criterion = CrossEntropy(ops, class_weights("none", labels, classes))
        self.optimizer = build_optimizer(config, self.model)
        scaling = PixelScaling.fit("standardize", pixels[:1024])
        self.batches = BatchMaker(ops, scaling, typed(config, "augment", AugmentSettings), SEED)
        self._random, self._steps = random, 0

    def step(self) -> None:
        """What the training loop does for a batch, from the choice of pictures to the update."""
        self._steps += 1
        indices = self._random.integers(0, len(self.images), self.batch)
        labels = self.labels[self.ops.array(indices)]
        logits = self._train(self.batches.training(self.images, indices, self._steps), labels)
        self.ops.count_correct(logits, labels)

    def step_on_one_batch(self) -> Callable[[], None]:
        """A step on a batch that lies ready: forward, loss, backward, update, and nothing else."""
        indices = np.arange(self.batch)
        pictures, labels = self.batches.plain(self.images, indices), self.labels[self.ops.array(indices)]

        def step() -> None:
            self._steps += 1
            self._train(pictures, labels)

        return step

    def _train(self, pictures: Any, labels: Any) -> Any:
        logits = self.model.forward(pictures, True, self._steps)
        _, dlogits = self.criterion(logits, labels)
        self.model.backward(dlogits)
        self.optimizer.step(self.optimizer.learning_rate)
        return logits
