"""The work of a measurement: the training step of the loop, on images and labels of noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from cnn.assembly import optimizer_settings
from cnn.backends import Array, Ops
from cnn.models import Model, build_model
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.optimizers import build_optimizer
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.step import TrainingStep
from foundation.config import config_dir, typed

SEED = 0


def option_groups(**names: str) -> DictConfig:
    """The files `conf/<group>/<name>.yaml` under their groups, as Hydra composes them: `optimizer="adam"`."""
    folder = config_dir()
    return OmegaConf.create({group: OmegaConf.load(folder / group / f"{name}.yaml") for group, name in names.items()})


def noise(
    count: int, input_shape: tuple[int, ...], classes: int, seed: int = SEED
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` images (n, h, w, c) of noise, and their labels (n,) below `classes`."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, *input_shape), np.uint8), random.integers(0, classes, count)


def standardized(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (n, h, w, c) as the network's input, computed on the host."""
    scaling = _scaling(images)
    return images * scaling.scale + scaling.offset


def _scaling(images: NDArray[np.uint8]) -> PixelScaling:
    return PixelScaling.fit("standardize", images[:1024])


class Workload:
    """A model and the loop's training step on noise on the backend; a call runs one step."""

    def __init__(
        self,
        config: DictConfig,
        model: Model,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        batch: int,
    ) -> None:
        """`config` has the group `optimizer` and may have `augment`; without it images are only scaled."""
        ops, (classes,) = model.ops, model.graph.nodes[-1].shape
        augment = typed(config, "augment", AugmentSettings) if "augment" in config else AugmentSettings()
        optimizer = build_optimizer(optimizer_settings(config), model)
        loss = CrossEntropy(ops, class_weights("none", labels, classes))
        batches = BatchMaker(ops, _scaling(images), augment, SEED)
        self.model, self.batch = model, batch
        self.step = TrainingStep(model, loss, optimizer, batches, ops.array(images), ops.array(labels), batch)
        self._random = np.random.default_rng(SEED)
        self._rate, self._steps, self._left = optimizer.learning_rate, 0, 0

    def __call__(self) -> None:
        """A training step on the next batch; a new epoch begins when less than a batch is left."""
        if self._left < self.batch:
            self.begin_epoch()
        self.step(self.batch)
        self._steps, self._left = self._steps + 1, self._left - self.batch

    def begin_epoch(self, shuffled: bool = True) -> None:
        """Begin an epoch with the optimizer's learning rate."""
        count = len(self.step.images)
        order = self._random.permutation(count) if shuffled else np.arange(count)
        self.step.begin_epoch(order, np.full(-(-count // self.batch), self._rate, np.float32), self._steps)
        self._left = count

    def network_input(self, images: NDArray[np.uint8]) -> Array:
        """Images (n, h, w, c) as the network's input in scoring, on the backend: float32."""
        ops = self.model.ops
        return self.step.batches.plain(ops.array(images), ops.array(np.arange(len(images))))


def workload(
    config: DictConfig,
    model: Mapping[str, Any],
    ops: Ops,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    images: int,
    batch: int,
) -> Workload:
    """The workload of a model of `conf/model/*.yaml`, on at least `images` images."""
    built = build_model(model, ops, input_shape, classes, SEED)
    return Workload(config, built, *noise(max(images, batch), input_shape, classes), batch)
