"""Loads a finished run from its folder: model, classes and pixel scaling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from cnn.backends import Ops
from cnn.models import Model, build_model
from cnn.models.precision import check_precision, ops_of_precision, storage_of
from cnn.run_config import config_path, read_run_config
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.checkpoint import Tensors, described
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.run_folder import open_folder
from foundation.errors import UserError

LARGEST_INPUT = 3 * 64_000_000  # numbers of an image; larger ones are not read either


@dataclass(frozen=True)
class FinishedRun:
    """The best epoch of a run, for evaluation and prediction."""

    folder: Path
    model: Model
    batches: BatchMaker
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    pack_hash: str | None  # of the data that it was trained on; None for arrays, from Python
    epoch: int
    seed: int
    recipe: dict[str, Any]  # the config groups that the network was trained with
    value_top: int | None = None  # the value of images of more than 8 bits that is white; None: it saw 8 bits alone

    @classmethod
    def open(cls, folder: Path, ops: Ops) -> FinishedRun:
        """Load `model.best.safetensors` of a run, or `model.safetensors` of an exported folder or of zoo/NAME.

        Raises `UserError` if it is missing or damaged, or if the network takes anything but uint8 images.
        """
        folder, path, tensors, metadata = open_folder(folder, f"run={folder}")
        with described(path):
            return cls._from(folder, path, tensors, metadata, ops)

    @classmethod
    def _from(cls, folder: Path, path: Path, tensors: Tensors, metadata: dict[str, Any], ops: Ops) -> FinishedRun:
        if len(metadata["image_shape"]) != 3 or metadata.get("pixel_type", "uint8") != "uint8":
            seen = "images of floating-point numbers" if len(metadata["image_shape"]) == 3 else "vectors"
            raise UserError(f"{folder}: the network was trained on {seen}: use it from Python, with Classifier.load")
        height, width, channels = metadata["image_shape"]
        shape = (height, width, channels)
        for number in (*shape, metadata["seed"], metadata["epoch"]):
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise TypeError(f"{number!r} is no count")
        if not 0 < height * width * channels <= LARGEST_INPUT:
            raise ValueError(f"images of {shape}")
        if not all(isinstance(name, str) for name in metadata["classes"]) or not isinstance(metadata["classes"], list):
            raise TypeError("classes that are no text")
        if not isinstance(metadata["pack_hash"], str | None):
            raise TypeError("pack_hash is no text")
        precision = metadata["trainer"].get("precision", "float32")  # runs before the option were in float32
        check_precision(precision, f"{path}: precision")
        model = build_model(
            metadata["model"],
            ops_of_precision(precision, ops),
            shape,
            len(metadata["classes"]),
            metadata["seed"],
            storage=storage_of(precision),
            most=sum(tensor.size for tensor in tensors.values()),
        )
        model.load_state(tensors, str(path))
        scaling = PixelScaling.recorded(metadata, np.float32)
        batches = BatchMaker(ops, scaling, AugmentSettings(), metadata["seed"], storage=model.storage)
        return cls(
            folder,
            model,
            batches,
            tuple(metadata["classes"]),
            shape,
            metadata["pack_hash"],
            metadata["epoch"],
            metadata["seed"],
            {group: metadata.get(group, {}) for group in ("model", "augment", "optimizer", "schedule", "trainer")},
            metadata.get("value_top"),
        )

    def config(self) -> DictConfig:
        """The groups `data` and `merge` of the run's config."""
        path = config_path(self.folder)
        if not path.exists():
            raise UserError(f"{path} is missing, which says what data the run was made with: give pack=FOLDER")
        return read_run_config(self.folder, ("data", "merge"))
