"""From a composed config to the objects it describes; the entry files share it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from cnn.backends import Ops, get_ops
from cnn.models import Model, build_model
from cnn.training.augmentation import AugmentSettings, BatchMaker
from cnn.training.best import Best
from cnn.training.loop import Trainer, TrainerSettings
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.normalization import PixelScaling
from cnn.training.optimizers import build_optimizer
from cnn.training.pack import Pack
from cnn.training.schedules import ScheduleSettings, build_schedule
from foundation.entry import typed
from foundation.errors import UserError


def plain(config: DictConfig) -> dict[str, Any]:
    """A config node as plain mappings and lists, interpolations resolved."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


@dataclass
class BackendSettings:
    """The config group `backend`."""

    name: str = "numpy"
    threads: int | None = None  # of numpy; None takes every core that the process may use
    compiled: bool | None = None  # of numpy: passes over memory compiled by Numba; None takes it where it is installed
    convolution: str = "auto"  # of numpy: the algorithm of convolutions
    cublas: bool = False  # of cupy: dense layers by CuPy's matmul instead of the project's own kernels


def ops_of(config: DictConfig) -> Ops:
    """The backend that the group `backend` names."""
    settings = typed(config, "backend", BackendSettings)
    return get_ops(
        settings.name,
        settings.threads,
        compiled=settings.compiled,
        convolution=settings.convolution,
        cublas=settings.cublas,
    )


def whole(config: DictConfig, key: str, least: int) -> int:
    """The option `key` at the top of the config as a whole number. Raises `UserError` naming it."""
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{key} must be a whole number of at least {least}, not {value!r}")
    return value


def model_of(config: DictConfig, ops: Ops) -> Model:
    """The model that the groups `model` and `data` describe, with fresh weights from `seed`."""
    size, data = config.data.image_size, config.data
    return build_model(
        plain(config.model), ops, (size, size, data.channels), len(data.classes), whole(config, "seed", 0)
    )


def loss_weights(rule: str, pack: Pack) -> NDArray[np.float32]:
    """The weight of each class in the loss, (classes,), by `trainer.class_weights` or, where that is none, by the pack.

    Raises `UserError` for an unknown rule, and where both give weights: `merge.balance.method=class_weight` put some
    into the pack.
    """
    weights = class_weights(rule, pack.splits["train"].host_labels, len(pack.classes))
    if pack.class_weights is None:
        return weights
    if rule != "none":
        raise UserError(
            f"trainer.class_weights={rule} and merge.balance.method=class_weight both weight the loss: drop one, "
            "with trainer.class_weights=none or merge.balance.method=none"
        )
    return np.array([pack.class_weights[name] for name in pack.classes], np.float32)


def trainer_of(config: DictConfig, pack: Pack, ops: Ops, folder: Path) -> Trainer:
    """Everything that a run trains with. Raises `UserError` for options that do not fit the data."""
    settings = typed(config, "trainer", TrainerSettings)
    train = pack.splits["train"]
    if settings.batch_size > len(train):
        raise UserError(
            f"trainer.batch_size is {settings.batch_size}, but the training split of '{pack.name}' has only "
            f"{len(train)} images"
        )
    model = model_of(config, ops)
    optimizer = build_optimizer(config, model)
    scaling = PixelScaling.fit(settings.pixels, ops.to_numpy(train.images))
    total_steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    weights = loss_weights(settings.class_weights, pack)
    about = {
        "model": plain(config.model),
        "classes": list(pack.classes),
        "image_shape": list(pack.image_shape),
        "pixel_scale": scaling.scale.tolist(),
        "pixel_offset": scaling.offset.tolist(),
        "pack_hash": pack.content_hash,
        "seed": config.seed,
        **{group: plain(config[group]) for group in ("augment", "optimizer", "schedule", "trainer")},
    }
    return Trainer(
        model=model,
        criterion=CrossEntropy(ops, weights, settings.label_smoothing),
        optimizer=optimizer,
        schedule=build_schedule(typed(config, "schedule", ScheduleSettings), optimizer.learning_rate, total_steps),
        batches=BatchMaker(ops, scaling, typed(config, "augment", AugmentSettings), config.seed),
        settings=settings,
        seed=config.seed,
        folder=folder,
        about=about,
        best=Best(settings.early_stopping),
    )
