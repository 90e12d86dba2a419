"""Distillation: other networks' probabilities as further targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnn.backends import Array, Ops
from cnn.models import InferenceModel, Model, build_model
from cnn.training.checkpoint import Tensors, described, file_digest, load_checkpoint
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.run_folder import network_file
from foundation.errors import UserError


@dataclass
class DistilSettings:
    """The options `distil`."""

    teacher: list[str] = field(default_factory=list)  # folders of runs; the mean of their probabilities is the target
    weight: float = 0.5  # of the teachers' targets beside the labels
    temperature: float = 1.0  # by which the logits of both are divided

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise UserError(f"distil.weight must be above 0 and at most 1, not {self.weight}")
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"distil.temperature must be above 0, not {self.temperature}")


class Teacher:
    """Adds the gradient of distillation (Hinton, Vinyals & Dean 2015) to that of the labels.

    The loss is (1 - weight) * that of the labels + weight * temperature ** 2 * the cross-entropy of the student's
    probabilities with the mean of the teachers', both at `temperature`. The teachers see the same augmented and mixed
    images (Beyer et al. 2022), without dropout. They guide epochs of full size only: a network that was trained for 48
    pixels is right much less often on 24 or 32 (docs/recipes.md).
    """

    def __init__(self, ops: Ops, models: Sequence[Model], settings: DistilSettings, batch_size: int, classes: int):
        """`models` have the student's backend, storage, input and classes."""
        self.ops = ops
        self._models = [InferenceModel(model) for model in models]
        self._hot = settings.temperature != 1

        def numbers(value: float, *shape: int) -> Array:
            return ops.array(np.full(shape, value, np.float32))

        self._weight, self._even = numbers(settings.weight, 1), numbers(1, classes)
        self._cooled = numbers(1 / settings.temperature, batch_size, classes)
        # The gradient for logits / T is 1 / T of that for logits, and the loss has T ** 2.
        self._heated = numbers(settings.temperature, batch_size, classes)
        self._shares = [numbers(1 / (number + 1), 1) for number in range(len(models))]

    def guide(self, x: Array, logits: Array, dlogits: Array) -> None:
        """In place: dlogits (n, k), the gradient of the labels' loss for logits (n, k), becomes that of both.

        x (n, h, w, c) are the images that the student saw.
        """
        targets = self.ops.softmax(self._at_temperature(self._models[0].forward(x)))
        for model, share in zip(self._models[1:], self._shares[1:], strict=True):
            further = self.ops.softmax(self._at_temperature(model.forward(x)))
            self.ops.blend(targets.reshape(-1), further.reshape(-1), share)
        _, own = self.ops.soft_cross_entropy(self._at_temperature(logits), targets, self._even)
        if self._hot:
            own = self.ops.multiply(own, self._heated[: len(own)])
        self.ops.blend(dlogits.reshape(-1), own.reshape(-1), self._weight)

    def _at_temperature(self, logits: Array) -> Array:
        return self.ops.multiply(logits, self._cooled[: len(logits)]) if self._hot else logits


def teacher_model(run: str, student: Model, scaling: PixelScaling, classes: Sequence[str]) -> Model:
    """The network of the best epoch of a run, on the backend and in the storage of `student`.

    Raises `UserError` if the file is missing or damaged, or if the run had another size of images, other classes, or
    other pixels: `scaling` is that of the student.
    """
    path = network_file(Path(run))
    tensors, metadata = load_checkpoint(path)
    with described(path):
        return _teacher_model(run, path, tensors, metadata, student, scaling, classes)


def _teacher_model(
    run: str,
    path: Path,
    tensors: Tensors,
    metadata: Mapping[str, Any],
    student: Model,
    scaling: PixelScaling,
    classes: Sequence[str],
) -> Model:
    for what, wanted in (("image_shape", list(student.input_shape)), ("classes", list(classes))):
        if (theirs := metadata.get(what)) != wanted:
            raise UserError(f"distil.teacher={run}: its {what} is {theirs}, and this run has {wanted}")
    for part, own in (("scale", scaling.scale), ("offset", scaling.offset)):
        if not np.allclose(metadata.get(f"pixel_{part}", np.nan), own, rtol=1e-3, atol=1e-3):
            raise UserError(
                f"distil.teacher={run}: its pixels are scaled otherwise; a teacher needs the same trainer.pixels, and "
                "training images of the same mean and deviation"
            )
    most = sum(tensor.size for tensor in tensors.values())
    model = build_model(
        metadata["model"], student.ops, student.input_shape, len(classes), 0, storage=student.storage, most=most
    )
    model.load_state(tensors, str(path))
    return model


def digest_of(run: str) -> str:
    """SHA-256 of the weights of a run. Raises `UserError` if they are missing."""
    path = network_file(Path(run))
    if not path.is_file():
        raise UserError(f"distil.teacher={run}: {path} is missing")
    return file_digest(path)
