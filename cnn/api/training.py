"""Trains a network by the options and data of an estimator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.api import options
from cnn.api.arrays import Examples, TrainingData, label_numbers, read_images, stratified_split
from cnn.api.network import Network, as_stored
from cnn.assembly import TrainingOptions, new_trainer
from cnn.backends import Ops
from cnn.models import build_model
from cnn.models.precision import ops_of_precision, resolve_precision, slowness, storage_of
from cnn.training.first_layer import take_from_images
from cnn.training.loop import TrainerSettings
from cnn.training.pack import Split
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.progress import Progress
from cnn.training.warm_start import check_start, start_from
from foundation.errors import UserError
from foundation.schema import build


@dataclass
class Trained:
    """A trained network, and the data of its training."""

    network: Network
    classes: NDArray[Any]  # the labels, (classes,)
    class_count: NDArray[np.int64]  # training examples of each, (classes,)
    history: list[dict[str, Any]]
    best_epoch: int
    options: dict[str, Any]  # the estimator's, as plain data: the config groups and other options


def train(estimator: Any, data: TrainingData, ops: Ops, progress: Progress) -> Trained:
    """Train a network by the options of `estimator`, a `Classifier`. Raises `UserError` naming one that is wrong."""
    vectors = len(data.shape) == 1
    chosen = _options(estimator, vectors, ops)
    examples, validation = _split(estimator, data, chosen.seed)
    if chosen.trainer.pixels == "unit" and examples.images.dtype != np.uint8:
        raise UserError(f"pixels='unit' divides uint8 by 255, but X is {examples.images.dtype}: give 'standardize'")
    weights = options.loss_weights(estimator.class_weights, data.classes, examples.labels)
    config = options.model_config(estimator.model, vectors)
    precision = chosen.trainer.precision
    if (line := slowness(precision, ops)) is not None:
        warnings.warn(line, stacklevel=3)
    products, storage = ops_of_precision(precision, ops), storage_of(precision)
    begin, freeze = estimator.start_from, estimator.freeze
    check_start(None if begin is None else str(begin), freeze)
    model = build_model(config, products, data.shape, len(data.classes), chosen.seed, storage=storage, freeze=freeze)
    scaling = PixelScaling.fit(chosen.trainer.pixels, examples.images)
    take_from_images(model, examples.images, scaling)
    if begin is not None:
        start_from(model, str(begin), [str(label) for label in data.classes.tolist()])
    still = as_stored(examples.images[:1], scaling)[1]
    trainer = new_trainer(model, len(examples.labels), still, weights, chosen, None, {})
    trainer.fit(
        _on_backend(ops, "train", examples, scaling),
        None if validation is None else _on_backend(ops, "validation", validation, scaling),
        progress,
    )
    return Trained(
        network=Network(
            config,
            data.shape,
            len(data.classes),
            chosen.seed,
            scaling,
            model.state(),
            precision=precision,
            _model=model,
            _ops=ops,
        ),
        classes=data.classes,
        class_count=np.bincount(examples.labels, minlength=len(data.classes)),
        history=trainer.history,
        best_epoch=trainer.best.epoch,
        options={
            **asdict(chosen),
            "validation": estimator.validation if isinstance(estimator.validation, float) else None,
            "class_weights": estimator.class_weights,
        },
    )


def _options(estimator: Any, vectors: bool, ops: Ops) -> TrainingOptions:
    """The options as the dataclasses of the config groups."""
    augment = options.augment_settings(estimator.augment)
    if vectors and augment != type(augment)():
        raise UserError("augment is for images, but X holds vectors (n, features): give augment='none'")
    schedule = options.schedule_settings(estimator.schedule)
    clip, stop = estimator.clip_norm, estimator.early_stopping
    for name, asked in (("early_stopping", stop is not None), ("schedule='plateau'", schedule.name == "plateau")):
        if asked and estimator.validation is None:
            raise UserError(f"{name} needs validation: give a fraction of the examples, or others as (X, y)")
    own = {
        "epochs": options.require_int(estimator.epochs, "epochs", 1),
        "batch_size": options.require_int(estimator.batch_size, "batch_size", 1),
        "precision": resolve_precision(estimator.precision, ops, "precision"),
        "pixels": estimator.pixels,
        "label_smoothing": options.require_float(estimator.label_smoothing, "label_smoothing", 0, 1),
        "clip_norm": None if clip is None else options.require_float(clip, "clip_norm", 0, math.inf),
        "early_stopping": None if stop is None else options.require_int(stop, "early_stopping", 1),
    }
    settings = build(TrainerSettings, own | options.further_options(estimator.trainer), "trainer")
    optimizer = options.optimizer_settings(estimator.optimizer, estimator.learning_rate)
    return TrainingOptions(settings, optimizer, schedule, augment, options.require_int(estimator.seed, "seed", 0))


def _split(estimator: Any, data: TrainingData, seed: int) -> tuple[Examples, Examples | None]:
    """The examples for training and for validation."""
    validation = estimator.validation
    if validation is None:
        return data.examples, None
    if isinstance(validation, Sequence) and len(validation) == 2:
        own = Examples(
            read_images(estimator, validation[0], data.shape), label_numbers(validation[1], data.classes, "validation")
        )
        if len(own.images) != len(own.labels):
            raise UserError(f"validation is a pair of {len(own.images)} examples and {len(own.labels)} labels")
        return data.examples, own
    if isinstance(validation, Sequence | np.ndarray):
        raise UserError("validation must be None, a fraction of the examples, or a pair (X, y)")
    return stratified_split(data.examples, options.require_float(validation, "validation", 0, 1), seed)


def _on_backend(ops: Ops, name: str, examples: Examples, scaling: PixelScaling) -> Split:
    stored, _ = as_stored(examples.images, scaling)
    return Split(name, ops.array(stored), ops.array(examples.labels), examples.labels)
