"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.models import Model
from cnn.models.precision import check_precision
from cnn.training.averaging import Lookahead, MovingAverage, check_averaging
from cnn.training.batches import AugmentSettings, BatchMaker, epoch_order
from cnn.training.best import Best
from cnn.training.checkpoint import BEST, LAST, Tensors, described, load_checkpoint, save_checkpoint
from cnn.training.image_sizes import check_sizes, resized_split, size_of_epoch, smaller_sizes
from cnn.training.inference import Scoring, loss_and_accuracy
from cnn.training.losses import CrossEntropy, check_rule, check_smoothing
from cnn.training.mixing import mixing_of_epoch
from cnn.training.optimizers import Optimizer, check_clip_norm
from cnn.training.pack import Split
from cnn.training.pixel_scaling import check_pixels
from cnn.training.progress import Progress
from cnn.training.ranks import Alone
from cnn.training.schedules import Schedule
from cnn.training.step import TrainingStep
from cnn.training.teacher import Teacher
from foundation.errors import UserError

DISTRIBUTED = ("none", "mpi", "nccl")
# Options that change no result: no checkpoint has them, and a run goes on with others.
UNRECORDED = ("distributed", "profile")


@dataclass
class TrainerSettings:
    """The config group `trainer`."""

    epochs: int = 10
    batch_size: int = 64
    precision: str = "float32"  # or bfloat16, tf32, auto: see `cnn/models/precision.py`
    pixels: str = "standardize"  # or unit: pixels / 255
    class_weights: str = "none"  # or balanced
    label_smoothing: float = 0.0
    ema: float | None = None  # the weight of the past in a moving average of the weights, which is then scored
    lookahead: int | None = None  # steps after which the weights return to slow ones
    lookahead_share: float = 0.5  # by how much the slow weights move then
    # Pixels and epochs of smaller images, before those of full size.
    sizes: list[list[int]] = field(default_factory=list)
    clip_norm: float | None = None  # the largest norm of the gradient of all parameters
    early_stopping: int | None = None  # epochs without a better validation accuracy before training stops
    monitor: str = "val_accuracy"
    profile: bool = False  # measure a step part by part before training; part of no checkpoint
    max_minutes: float | None = None  # start no further epoch after this time; the schedule does not depend on it
    distributed: str = "none"  # or mpi, nccl: how processes that train together exchange arrays
    sync_batch_norm: bool = True  # with several processes: batch norms over the whole batch, not each one's part

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"trainer.{name} must be at least 1, not {getattr(self, name)}")
        if self.distributed not in DISTRIBUTED:
            raise UserError(f"trainer.distributed is '{self.distributed}'; choose one of: {', '.join(DISTRIBUTED)}")
        check_precision(self.precision, "trainer.precision")
        check_pixels(self.pixels)
        check_rule(self.class_weights)
        check_smoothing(self.label_smoothing)
        check_clip_norm(self.clip_norm)
        check_averaging(self.ema, self.lookahead, self.lookahead_share)
        check_sizes(self.sizes, self.epochs)
        for name in ("early_stopping", "max_minutes"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise UserError(f"trainer.{name} must be above 0, or null for none, not {value}")
        if self.monitor != "val_accuracy":
            raise UserError(
                f"trainer.monitor is '{self.monitor}', but epochs are selected on val_accuracy: a choice made on "
                "the training or test split would make its score worthless"
            )


@dataclass
class Trainer:
    """The objects of one training run, and its progress."""

    model: Model
    loss: CrossEntropy
    optimizer: Optimizer
    schedule: Schedule
    batches: BatchMaker
    settings: TrainerSettings
    seed: int
    folder: Path | None  # of the checkpoints; None writes none and keeps the best weights in memory
    metadata: dict[str, Any]  # for the checkpoints: the model, the classes and the pixel scaling
    best: Best = field(default_factory=Best)
    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # sentences about the training for the person
    average: MovingAverage | None = None
    lookahead: Lookahead | None = None
    teacher: Teacher | None = None
    ranks: Alone = field(default_factory=Alone)
    _best_weights: dict[str, NDArray[Any]] = field(default_factory=dict)  # if there is no folder

    @property
    def scored(self) -> Model:
        """The model that validation scores: the average, if there is one."""
        return self.model if self.average is None else self.average.model

    def fit(
        self, train: Split, validation: Split | None, progress: Progress, on_epoch: Callable[[], None] = lambda: None
    ) -> None:
        """Train up to the last epoch, early stopping or the time limit; then load the weights of the best epoch.

        Without a validation split the last epoch is the best. `on_epoch` is called after each epoch, when it is in
        `history` and in the checkpoint.
        """
        if validation is not None and not len(validation):
            raise UserError("the validation split holds no images, so no epoch could be chosen by it")
        started = time.perf_counter()
        sizes = steps_of_epoch(len(train), self.settings.batch_size, self.model)
        if sum(sizes) < len(train):
            self.notes.append(
                "Each epoch leaves out one image, another each time: it would be a last batch of one, in which "
                f"{self.model.norm_of_single_values} has single values to normalise. Another batch size uses all."
            )
        for note in self.notes:
            progress.note(note)
        self._check_sizes()
        hw: tuple[int, ...] = ()
        while self.epoch < self.settings.epochs and not self._stopped():
            minutes = (time.perf_counter() - started) / 60
            if (most := self.settings.max_minutes) is not None and self.ranks.decided(minutes >= most):
                if hw and hw != self._size(self.settings.epochs):
                    self.notes.append(f"The time was over before images of full size: the last had {min(hw)} pixels.")
                break
            begun = time.perf_counter()
            if self._size(self.epoch + 1) != hw:
                hw = self._size(self.epoch + 1)
                step, scoring = self._of_size(hw, train, validation)
                if self.epoch and hw != self._size(self.epoch):
                    self.best = Best(self.settings.early_stopping, epoch=self.epoch)  # sizes are not compared
            row = self._train_epoch(step, sizes, progress)
            self.ranks.end_epoch(row["epoch"], list(dict.fromkeys([self.model, self.scored])))
            if self.settings.sizes:
                row["image_size"] = min(hw)
            if validation is not None and scoring is not None:
                row |= self._validate(scoring, validation, progress)
            if self.model.penalized:
                row["l2_penalty"] = self.model.penalty()  # the L2 term of the loss at the end of the epoch
            row["seconds"] = time.perf_counter() - begun
            self.epoch = row["epoch"]
            self.history.append(row)
            improved = self._improved(row)
            self._save(improved)
            on_epoch()
            progress.epoch_done(row, improved)
        self.ranks.wait()
        self._load_best()

    def _check_sizes(self) -> None:
        """Raise `UserError` for sizes of images that the network cannot have, before the first epoch."""
        if not self.settings.sizes:
            return
        if len(self.model.input_shape) != 3:
            raise UserError("trainer.sizes is for images, and this network gets vectors")
        height, width, _ = self.model.input_shape
        for hw in smaller_sizes(self.settings.sizes, (height, width)):
            try:
                self.model.graph.resized((*hw, self.model.input_shape[2]))
            except ValueError as error:
                raise UserError(f"trainer.sizes={self.settings.sizes}: {error}") from error

    def _size(self, epoch: int) -> tuple[int, ...]:
        """The height and width of the images of this epoch; of vectors their length."""
        sizes, full = self.settings.sizes, self.model.input_shape
        return size_of_epoch(sizes, epoch, (full[0], full[1])) if sizes else full[:2]

    def _stopped(self) -> bool:
        """Whether training stops early, which it does not while images are smaller than those that it ends with."""
        small = self._size(max(self.epoch, 1)) != self._size(self.settings.epochs)
        return not small and self.best.exhausted(self.epoch)

    def training_step(self, train: Split) -> TrainingStep:
        """The step that training on these images takes, for images of full size."""
        return self._of_size(self.model.input_shape[:2], train, None)[0]

    def begin_epoch(
        self,
        step: TrainingStep,
        epoch: int,
        rates: NDArray[np.float32],
        steps_before: int,
        momenta: NDArray[np.float32] | None = None,
    ) -> None:
        """Give the step the order of the images in that epoch, how they are mixed, and the rate of each step."""
        mixing = mixing_of_epoch(self.batches.augment, step.images.shape[1:3], self.seed, epoch, len(rates))
        step.begin_epoch(epoch_order(len(step.images), self.seed, epoch), rates, steps_before, momenta, mixing)

    def _of_size(
        self, hw: tuple[int, ...], train: Split, validation: Split | None
    ) -> tuple[TrainingStep, Scoring | None]:
        """The training step, and the scoring of the validation split, for images of `hw` pixels."""
        model, scored, teacher, ops = self.model, self.scored, self.teacher, self.model.ops
        if hw != model.input_shape[:2]:
            height, width = hw
            train = resized_split(train, (height, width), ops)
            validation = None if validation is None else resized_split(validation, (height, width), ops)
            model, scored = model.resized(height, width), scored.resized(height, width)
            teacher = None
        step = TrainingStep(
            model,
            self.loss,
            self.optimizer,
            self.batches,
            train.images,
            train.labels,
            self.settings.batch_size,
            self.average,
            self.lookahead,
            teacher,
            train.targets,
            self.ranks,
        )
        if validation is None:
            return step, None
        own = validation.images[self.ranks.part(len(validation))]
        return step, Scoring(scored, own, self.batches, self.settings.batch_size)

    def _train_epoch(self, step: TrainingStep, sizes: list[int], progress: Progress) -> dict[str, Any]:
        epoch, count = self.epoch + 1, sum(sizes)
        numbers = range(self.step + 1, self.step + len(sizes) + 1)
        rates = [self.schedule.learning_rate(number) for number in numbers]
        momenta = [self.schedule.momentum(number, self.optimizer.momentum) for number in numbers]
        progress.begin(f"epoch {epoch}/{self.settings.epochs}", count, count * (self.settings.epochs - epoch))
        started = time.perf_counter()
        self.begin_epoch(step, epoch, np.array(rates, np.float32), self.step, np.array(momenta, np.float32))
        for images in sizes:
            step(images)
            progress.advance(images, step.totals)
        self.step += len(sizes)
        mean_loss, accuracy = step.totals(everywhere=True)
        seconds = time.perf_counter() - started
        _demand_finite(mean_loss, "loss", epoch)
        return {
            "epoch": epoch,
            "train_loss": mean_loss,
            "train_accuracy": accuracy,
            "learning_rate": rates[-1],
            "images_per_second": count / seconds,
        }

    def _validate(self, scoring: Scoring, validation: Split, progress: Progress) -> dict[str, Any]:
        progress.begin("validation", len(validation))
        probabilities = self.ranks.joined(scoring(progress.advance), len(validation))
        loss, accuracy = loss_and_accuracy(probabilities, validation.host_labels)
        _demand_finite(loss, "validation loss", self.epoch + 1)
        return {"val_loss": loss, "val_accuracy": accuracy}

    def _improved(self, row: dict[str, Any]) -> bool:
        """Whether the epoch of `row` is the best so far; also passes its value to the schedule."""
        if "val_accuracy" not in row:
            self.best.epoch = self.epoch
            return True
        self.schedule.epoch_end(row["val_accuracy"])
        return self.best.update(row["val_accuracy"], self.epoch)

    def _load_best(self) -> None:
        if self.folder is not None:
            self.model.load_state(load_checkpoint(self.folder / BEST)[0], BEST)
        elif self._best_weights:
            self.model.load_state(self._best_weights, "the best epoch")
        elif self.average is not None:
            self.model.load_state(self.average.model.state(), "the average")

    def _save(self, improved: bool) -> None:
        if self.folder is None:
            if improved and "val_accuracy" in self.history[-1]:
                self._best_weights = self.scored.state()
            return
        if self.ranks.rank:
            return
        if improved:
            save_checkpoint(self.folder / BEST, self.scored.state(), {**self.metadata, "epoch": self.epoch})
        tensors = {
            f"{part}/{name}": tensor for part, held in self._parts().items() for name, tensor in held.state().items()
        }
        progress = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "schedule": self.schedule.state(),
            "best": self.best.state(),
        }
        save_checkpoint(self.folder / LAST, tensors, {**self.metadata, "training": progress})

    def _parts(self) -> dict[str, Model | Optimizer | Lookahead]:
        """What has tensors in the checkpoint, by the name that they begin with."""
        parts: dict[str, Model | Optimizer | Lookahead] = {"model": self.model, "optimizer": self.optimizer}
        if self.average is not None:
            parts["average"] = self.average.model
        if self.lookahead is not None:
            parts["lookahead"] = self.lookahead
        return parts

    def resume(self) -> None:
        """Load the state of `checkpoint.last.safetensors`. Raises `UserError` if it is of another model, or damaged.

        `trainer.epochs` may be another number if the schedule does not depend on it.
        """
        assert self.folder is not None
        path = self.folder / LAST
        with described(path):
            self._resume(path, *load_checkpoint(path))

    def _resume(self, path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
        if not metadata.get("training"):
            raise UserError(f"{path} holds weights alone, without the state of a training run")
        # An option that is not in a checkpoint did not exist when it was written, and has its default, which is off.
        for group, defaults in (("augment", AugmentSettings()), ("trainer", TrainerSettings())):
            metadata[group] = asdict(defaults) | metadata.get(group, {})
        own = self.metadata.get("trainer", {})
        for name in UNRECORDED:
            metadata["trainer"].pop(name)
            metadata["trainer"] |= {name: own[name]} if name in own else {}
        if not self.schedule.by_length:
            metadata["trainer"]["epochs"] = self.metadata.get("trainer", metadata["trainer"]).get("epochs")
        for key, value in self.metadata.items():
            if metadata.get(key) != value:
                changed = _changed_option(metadata.get(key), value)
                raise UserError(
                    f"{path} was made with another {key}{changed}: a run is resumed with its own options and data"
                )
        parts: dict[str, dict[str, Any]] = {name: {} for name in self._parts()}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            if part not in parts:
                raise UserError(f"{path} holds a tensor '{name}', which is of none of {', '.join(parts)}")
            parts[part][rest] = tensor
        progress = metadata["training"]
        # What only the beginning of the run knew stays known.
        self.metadata = {key: value for key, value in metadata.items() if key != "training"} | self.metadata
        history = [dict(row) for row in progress["history"]]
        counts = (progress["epoch"], progress["step"], progress["best"]["epoch"])
        if not all(type(count) is int and count >= 0 for count in counts) or counts[0] != len(history):
            raise ValueError("its counts of epochs and steps")
        if not all(isinstance(value, int | float | None) for row in history for value in row.values()):
            raise TypeError("its history")
        for name, held in self._parts().items():
            held.load_state(parts[name], str(path))
        self.schedule.load_state(progress["schedule"])
        self.best.load_state(progress["best"])
        self.epoch, self.step, self.history = progress["epoch"], progress["step"], history


def steps_of_epoch(images: int, batch_size: int, model: Model) -> list[int]:
    """The number of images in each step of an epoch over `images`.

    A last batch of one image is left out if a batch norm of `model` would have one value of each channel to normalise.
    Raises `UserError` if every batch would be such a one.
    """
    sizes = [min(batch_size, images - start) for start in range(0, images, batch_size)]
    if (name := model.norm_of_single_values) is None or sizes[-1] > 1:
        return sizes
    if len(sizes) == 1 or batch_size == 1:
        what = "the training split has one image" if images == 1 else "trainer.batch_size is 1"
        raise UserError(
            f"{what}, but {name} normalises by the mean and variance of a batch, and a single value of each channel "
            "has no variance: use batches of two or more, or group_norm"
        )
    return sizes[:-1]


def _changed_option(recorded: Any, value: Any) -> str:
    """`.option (recorded, not value)` for the first option of a config group that differs; else nothing."""
    if isinstance(recorded, dict) and isinstance(value, dict):
        for name in value:
            if recorded.get(name) != value[name]:
                return f".{name} ({recorded.get(name)}, not {value[name]})"
    return ""


def _demand_finite(loss: float, name: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise UserError(f"the {name} is {loss} in epoch {epoch}: try a lower optimizer.learning_rate")
