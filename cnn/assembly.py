"""Builds the objects that a composed config describes, for all commands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Ops, get_ops
from cnn.models import Model, build_model
from cnn.models.builder import check_model
from cnn.models.precision import ops_of_precision, resolve_precision, storage_of
from cnn.training.averaging import Lookahead, MovingAverage
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.best import Best
from cnn.training.checkpoint import load_checkpoint
from cnn.training.first_layer import take_from_images
from cnn.training.image_sizes import smaller_sizes
from cnn.training.loop import UNRECORDED, Trainer, TrainerSettings, steps_of_epoch
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.optimizers import OPTIMIZERS, AdamSettings, SgdSettings, build_optimizer
from cnn.training.pack import Pack
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.run_folder import network_file
from cnn.training.schedules import ScheduleSettings, build_schedule
from cnn.training.teacher import DistilSettings, Teacher, digest_of, teacher_model
from cnn.training.views import ViewSettings
from cnn.training.warm_start import check_start, start_from
from data_tools.config import DataOptions, MergeConfig
from foundation.config import plain, typed
from foundation.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def to_container(config: DictConfig) -> dict[str, Any]:
    """A config node as plain mappings and lists, interpolations resolved. Raises `UserError` for what is no mapping."""
    container = plain(config)
    if not isinstance(container, dict):
        raise UserError(f"a config group must be a mapping, not {container!r}")
    return {str(key): value for key, value in container.items()}


@dataclass
class BackendSettings:
    """The config group `backend`."""

    name: str = "auto"
    threads: int | None = None  # of cpu; None takes every core that the process may use
    convolution: str = "auto"  # of cpu: the algorithm of convolutions
    cublas: bool = False  # of cupy: dense layers by CuPy's matmul instead of the project's own kernels
    graph: bool = True  # of cupy: record a step once as a CUDA graph and replay it; not with cublas


def ops_of(config: DictConfig) -> Ops:
    """The backend that the group `backend` names."""
    settings = typed(config, "backend", BackendSettings)
    return get_ops(
        settings.name,
        settings.threads,
        convolution=settings.convolution,
        cublas=settings.cublas,
        graph=settings.graph,
    )


@dataclass
class BaselineSettings:
    """The options `baselines`: simple classifiers that the report compares with the network."""

    logistic_regression_up_to: int = 6000  # training images at most; 0 for never


@dataclass
class ReportSettings:
    """The options `report`."""

    images: bool = True  # whether the report shows images of the data


@dataclass
class StartSettings:
    """What an experiment may set outside the groups: where training begins, what it learns from beside the labels, and
    how images are seen in the scores at its end, which only `cnn.train` has."""

    seed: int = 0
    start_from: str | None = None
    freeze: str | None = None
    distil: DistilSettings = field(default_factory=DistilSettings)
    evaluate: ViewSettings = field(default_factory=ViewSettings)


@dataclass
class RunSettings(StartSettings):
    """The options of `cnn.train` outside the groups."""

    resume: str | None = None
    baselines: BaselineSettings = field(default_factory=BaselineSettings)
    report: ReportSettings = field(default_factory=ReportSettings)


# The types of the config groups; the optimizer's depend on its name.
GROUPS: dict[str, tuple[type, ...]] = {
    "data": (DataOptions,),
    "merge": (MergeConfig,),
    "augment": (AugmentSettings,),
    "optimizer": (SgdSettings, AdamSettings),
    "schedule": (ScheduleSettings,),
    "trainer": (TrainerSettings,),
    "backend": (BackendSettings,),
}


def groups(*names: str, top: type | None = None) -> dict[str, tuple[type, ...]]:
    """The types of these groups and, as `top`, of the options outside groups, for `foundation.entry.entry`."""
    return {name: GROUPS[name] for name in names} | ({} if top is None else {"": (top,)})


def check_training(config: DictConfig) -> None:
    """Raise the `UserError` that any option of training would raise after the data is prepared."""
    require_int(config, "seed", 0)
    optimizer_settings(config)
    typed(config, "schedule", ScheduleSettings)
    typed(config, "augment", AugmentSettings)
    for run in distil_settings(config).teacher:
        load_checkpoint(network_file(Path(run)))
    if config.get("resume") is None:
        check_start(config.get("start_from"), config.get("freeze"))
    size, data = config.data.image_size, config.data
    if data.classes and size and data.channels:  # what data=folder leaves null is checked when it is found out
        shape = size, size, data.channels
        final_views_of(config).views((size, size))
        sizes = smaller_sizes(typed(config, "trainer", TrainerSettings).sizes, (size, size))
        check_model(to_container(config.model), shape, len(data.classes), config.get("freeze"), sizes)


def require_int(config: DictConfig, key: str, least: int) -> int:
    """The option `key` at the top of the config as a whole number. Raises `UserError` naming it."""
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{key} must be a whole number of at least {least}, not {value!r}")
    return value


def views_of(config: DictConfig) -> ViewSettings:
    """The options of test-time augmentation, at the top of the config. Raises `UserError` naming a wrong one."""
    return ViewSettings(*(config[key] for key in ("tta", "tta_shift", "tta_crop")))


def final_views_of(config: DictConfig) -> ViewSettings:
    """The options `evaluate`, for the scores at the end of training. Raises `UserError` for a wrong one."""
    return ViewSettings() if config.get("evaluate") is None else typed(config, "evaluate", ViewSettings)


def model_of(config: DictConfig, ops: Ops, precision: str = "float32") -> Model:
    """The model that the groups `model` and `data` describe, with fresh weights from `seed`."""
    size, data = config.data.image_size, config.data
    return build_model(
        to_container(config.model),
        ops_of_precision(precision, ops),
        (size, size, data.channels),
        len(data.classes),
        require_int(config, "seed", 0),
        storage=storage_of(precision),
        freeze=config.get("freeze"),
    )


def trainer_settings(config: DictConfig, ops: Ops) -> TrainerSettings:
    """The group `trainer`, with the precision that "auto" means on `ops`.

    Raises `UserError` for a wrong value, and for a precision that `ops` does not have.
    """
    settings = typed(config, "trainer", TrainerSettings)
    return replace(settings, precision=resolve_precision(settings.precision, ops, "trainer.precision"))


def loss_weights(rule: str, pack: Pack) -> NDArray[np.float32]:
    """The weight of each class in the loss, (classes,), by `trainer.class_weights` or, if that is none, from the pack.

    Raises `UserError` for an unknown rule, and if both give weights: with `merge.balance.method=class_weight` the pack
    has weights.
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


def optimizer_settings(config: DictConfig) -> SgdSettings | AdamSettings:
    """The group `optimizer`. Raises `UserError` for an unknown name."""
    name = str(to_container(config.optimizer).get("name"))
    if name not in OPTIMIZERS:
        raise UserError(f"optimizer.name is '{name}'; choose {' or '.join(OPTIMIZERS)}")
    settings: SgdSettings | AdamSettings = typed(config, "optimizer", OPTIMIZERS[name])
    return settings


def trainer_of(config: DictConfig, pack: Pack, ops: Ops, folder: Path) -> Trainer:
    """The trainer of a run, with the weights of another run if `start_from` names one; a resumed run loads its own.

    Raises `UserError` for options that do not fit the data.
    """
    settings = trainer_settings(config, ops)
    train = pack.splits["train"]
    images = ops.to_numpy(train.images)
    scaling = PixelScaling.fit(settings.pixels, images)
    metadata = {
        "model": _recorded_model(config),
        "classes": list(pack.classes),
        "image_shape": list(pack.image_shape),
        "pixel_scale": scaling.scale.tolist(),
        "pixel_offset": scaling.offset.tolist(),
        "pack_hash": pack.content_hash,
        "seed": config.seed,
        "start_from": config.get("start_from"),
        "freeze": config.get("freeze"),
        **{group: to_container(config[group]) for group in ("augment", "optimizer", "schedule", "trainer")},
    }
    if pack.value_top is not None:
        metadata["value_top"] = pack.value_top
    for name in UNRECORDED:
        metadata["trainer"].pop(name, None)
    metadata["trainer"]["precision"] = settings.precision  # not "auto", which could be another on another machine
    options = TrainingOptions(
        settings,
        optimizer_settings(config),
        typed(config, "schedule", ScheduleSettings),
        typed(config, "augment", AugmentSettings),
        config.seed,
    )
    weights, model = loss_weights(settings.class_weights, pack), model_of(config, ops, settings.precision)
    take_from_images(model, images, scaling)
    if config.get("start_from") is not None and config.get("resume") is None:
        metadata["start"] = start_from(model, config.start_from, pack.classes)
    distil = distil_settings(config)
    if distil.teacher:
        # A teacher is known by its weights: a run goes on with the same ones, wherever their folder is then.
        metadata["distil"] = {"weight": distil.weight, "temperature": distil.temperature}
        metadata["distil"]["teachers"] = [digest_of(run) for run in distil.teacher]
    trainer = new_trainer(model, len(train), scaling, weights, options, folder, metadata)
    if distil.teacher:
        models = [teacher_model(run, model, scaling, pack.classes) for run in distil.teacher]
        trainer.teacher = Teacher(model.ops, models, distil, trainer.settings.batch_size, len(pack.classes))
    return trainer


def distil_settings(config: DictConfig) -> DistilSettings:
    """The options `distil`. Raises `UserError` for a wrong one."""
    return DistilSettings() if config.get("distil") is None else typed(config, "distil", DistilSettings)


def _recorded_model(config: DictConfig) -> dict[str, Any]:
    """The group `model` for a checkpoint: without `drop_path` if that is off, as in runs made before it existed."""
    model = to_container(config.model)
    return model if model.get("drop_path") else {key: value for key, value in model.items() if key != "drop_path"}


@dataclass(frozen=True)
class TrainingOptions:
    """The options of training: the config groups of these names, and the seed."""

    trainer: TrainerSettings
    optimizer: SgdSettings | AdamSettings
    schedule: ScheduleSettings
    augment: AugmentSettings
    seed: int


def new_trainer(
    model: Model,
    images: int,
    scaling: PixelScaling,
    weights: NDArray[np.float32],
    options: TrainingOptions,
    folder: Path | None,
    metadata: dict[str, Any],
) -> Trainer:
    """A trainer of `model` on that many images, scaled by `scaling`; `weights` (classes,) are those of the loss.

    With fewer images than `trainer.batch_size` a step takes all of them, and a note says so.
    """
    settings = options.trainer
    notes: list[str] = []
    if settings.batch_size > images:
        notes.append(
            f"Each step takes all training images, {images:,}: "
            f"they are fewer than trainer.batch_size={settings.batch_size}."
        )
        settings = replace(settings, batch_size=images)
    optimizer = build_optimizer(options.optimizer, model, settings.clip_norm)
    total_steps = settings.epochs * len(steps_of_epoch(images, settings.batch_size, model))
    vectors = len(model.input_shape) == 1
    return Trainer(
        model=model,
        loss=CrossEntropy(model.ops, weights, settings.label_smoothing),
        optimizer=optimizer,
        schedule=build_schedule(options.schedule, optimizer.learning_rate, total_steps),
        batches=BatchMaker(model.ops, scaling, options.augment, options.seed, vectors, model.storage),
        settings=settings,
        seed=options.seed,
        folder=folder,
        metadata=metadata,
        best=Best(settings.early_stopping),
        average=None if settings.ema is None else MovingAverage(model, settings.ema),
        lookahead=None
        if settings.lookahead is None
        else Lookahead(model, settings.lookahead, settings.lookahead_share),
        notes=notes,
    )
