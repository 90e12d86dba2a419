"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cnn.models import Model
from cnn.training.augmentation import AugmentSettings, BatchMaker, epoch_order
from cnn.training.best import Best
from cnn.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from cnn.training.inference import loss_and_accuracy, predict_probabilities
from cnn.training.losses import CrossEntropy
from cnn.training.optimizers import Optimizer
from cnn.training.pack import Split
from cnn.training.progress import Progress
from cnn.training.schedules import Schedule
from foundation.errors import UserError


@dataclass
class TrainerSettings:
    """The config group `trainer`."""

    epochs: int = 10
    batch_size: int = 64
    pixels: str = "standardize"  # or unit: pixels / 255
    class_weights: str = "none"  # or balanced
    label_smoothing: float = 0.0
    early_stopping: int | None = None  # epochs without a better validation accuracy before training stops
    monitor: str = "val_accuracy"
    max_minutes: float | None = None  # begin no further epoch after so long; the schedule does not know of it

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"trainer.{name} must be at least 1, not {getattr(self, name)}")
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
    """Everything that one run trains with, and how far it has come."""

    model: Model
    criterion: CrossEntropy
    optimizer: Optimizer
    schedule: Schedule
    batches: BatchMaker
    settings: TrainerSettings
    seed: int
    folder: Path
    about: dict[str, Any]  # what the checkpoints say of the model, the classes and the pixel scaling
    best: Best = field(default_factory=Best)
    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def fit(
        self, train: Split, validation: Split, progress: Progress, on_epoch: Callable[[], None] = lambda: None
    ) -> None:
        """Train until the epochs, the patience or the minutes run out; then load the best epoch's weights.

        `on_epoch` is called after each epoch, once it is in `history` and in the checkpoint.
        """
        if not len(validation):
            raise UserError("the validation split holds no images, so no epoch could be chosen by it")
        started = time.perf_counter()
        while self.epoch < self.settings.epochs and not self.best.exhausted(self.epoch):
            minutes = (time.perf_counter() - started) / 60
            if self.settings.max_minutes is not None and minutes >= self.settings.max_minutes:
                break
            begun = time.perf_counter()
            row = self._train_epoch(train, progress) | self._validate(validation, progress)
            row["seconds"] = time.perf_counter() - begun
            self.epoch = row["epoch"]
            self.history.append(row)
            self.schedule.epoch_end(row["val_accuracy"])
            improved = self.best.update(row["val_accuracy"], self.epoch)
            self._save(improved)
            on_epoch()
            progress.epoch_done(row, improved)
        tensors, _ = load_checkpoint(self.folder / BEST)
        self.model.load_state(tensors, BEST)

    def _train_epoch(self, train: Split, progress: Progress) -> dict[str, Any]:
        epoch, size, ops = self.epoch + 1, self.settings.batch_size, self.model.ops
        order = epoch_order(len(train), self.seed, epoch)
        progress.begin(f"epoch {epoch}/{self.settings.epochs}", len(train))
        started, loss_sum, correct, seen, rate = time.perf_counter(), 0.0, 0, 0, 0.0
        for start in range(0, len(train), size):
            self.step += 1
            rate = self.schedule.learning_rate(self.step)
            indices = order[start : start + size]
            labels = train.labels[ops.array(indices)]
            logits = self.model.forward(self.batches.training(train.images, indices, self.step), True, self.step)
            loss, dlogits = self.criterion(logits, labels)
            self.model.backward(dlogits)
            self.optimizer.step(rate)
            # Sums stay on the device; asking for their value would make a GPU wait.
            seen += len(indices)
            loss_sum = loss_sum + loss * len(indices)
            correct = correct + ops.count_correct(logits, labels)
            progress.advance(len(indices), lambda: (float(loss_sum) / seen, int(correct) / seen))  # noqa: B023
        mean_loss, seconds = float(loss_sum) / seen, time.perf_counter() - started
        _demand_finite(mean_loss, "loss", epoch)
        return {
            "epoch": epoch,
            "train_loss": mean_loss,
            "train_accuracy": int(correct) / seen,
            "learning_rate": rate,
            "images_per_second": seen / seconds,
        }

    def _validate(self, validation: Split, progress: Progress) -> dict[str, Any]:
        progress.begin("validation", len(validation))
        probabilities = predict_probabilities(
            self.model, validation.images, self.batches, self.settings.batch_size, progress.advance
        )
        loss, accuracy = loss_and_accuracy(probabilities, validation.host_labels)
        _demand_finite(loss, "validation loss", self.epoch + 1)
        row = {"val_loss": loss, "val_accuracy": accuracy}
        if any(parameter.l2 for parameter in self.model.parameters.values()):
            row["l2_penalty"] = float(self.model.penalty())  # what the weights add to the loss, as the epoch ends
        return row

    def _save(self, improved: bool) -> None:
        weights = self.model.state()
        if improved:
            save_checkpoint(self.folder / BEST, weights, {**self.about, "epoch": self.epoch})
        tensors = {f"model/{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizer.state().items()}
        progress = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "schedule": self.schedule.state(),
            "best": self.best.state(),
        }
        save_checkpoint(self.folder / LAST, tensors, {**self.about, "training": progress})

    def resume(self) -> None:
        """Go on exactly where `checkpoint.last.safetensors` stands. Raises `UserError` if it is another model's."""
        path = self.folder / LAST
        tensors, about = load_checkpoint(path)
        if "training" not in about:
            raise UserError(f"{path} holds weights alone, without the state of a training run")
        # What a checkpoint does not say of augmentation did not exist when it was written, and was off.
        about["augment"] = asdict(AugmentSettings()) | about.get("augment", {})
        for key, value in self.about.items():
            if about.get(key) != value:
                raise UserError(f"{path} was made with another {key}: a run is resumed with its own options and data")
        parts: dict[str, dict[str, Any]] = {"model": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        progress = about["training"]
        self.model.load_state(parts["model"], str(path))
        self.optimizer.load_state(parts["optimizer"], progress["step"])
        self.schedule.load_state(progress["schedule"])
        self.best.load_state(progress["best"])
        self.epoch, self.step, self.history = progress["epoch"], progress["step"], progress["history"]


def _demand_finite(loss: float, name: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise UserError(f"the {name} is {loss} in epoch {epoch}: try a lower optimizer.learning_rate")
