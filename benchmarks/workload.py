"""The work of a measurement: the training step of the loop, on images and labels of noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnn.assembly import optimizer_settings
from cnn.backends import Array, Ops
from cnn.models import Model, build_model
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.optimizers import OPTIMIZERS, AdamSettings, SgdSettings, build_optimizer
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.step import TrainingStep
from foundation.config import typed
from foundation.plain_config import compose

if TYPE_CHECKING:
    from omegaconf import DictConfig

SEED = 0


@dataclass(frozen=True)
class Options:
    """The options of a training step. Without augmentation images are only scaled."""

    optimizer: SgdSettings | AdamSettings
    augment: AugmentSettings = field(default_factory=AugmentSettings)


def named_options(optimizer: str = "adam", augment: str = "none") -> Options:
    """The options in the files of these names in `conf/optimizer` and `conf/augment`."""
    found = compose(optimizer=optimizer, augment=augment)
    settings = OPTIMIZERS[found["optimizer"]["name"]](**found["optimizer"])
    return Options(settings, AugmentSettings(**found["augment"]))


def options_of(config: DictConfig) -> Options:
    """The options in the groups `optimizer` and `augment` of a composed config."""
    return Options(optimizer_settings(config), typed(config, "augment", AugmentSettings))


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
        options: Options,
        model: Model,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        batch: int,
    ) -> None:
        """The labels (n,) of the images (n, h, w, c) uint8 are below the model's number of classes."""
        ops, (classes,) = model.ops, model.graph.nodes[-1].shape
        optimizer = build_optimizer(options.optimizer, model)
        loss = CrossEntropy(ops, class_weights("none", labels, classes))
        batches = BatchMaker(ops, _scaling(images), options.augment, SEED, storage=model.storage)
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
    options: Options,
    model: Mapping[str, Any],
    ops: Ops,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    images: int,
    batch: int,
    storage: str = "float32",
) -> Workload:
    """The workload of a model of `conf/model/*.yaml`, on at least `images` images, with activations in `storage`."""
    built = build_model(model, ops, input_shape, classes, SEED, storage=storage)
    return Workload(options, built, *noise(max(images, batch), input_shape, classes), batch)
