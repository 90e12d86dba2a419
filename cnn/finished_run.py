"""A run's folder, opened again: its model, its classes and the scaling of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from cnn.backends import Ops
from cnn.models import Model, build_model
from cnn.training.augmentation import AugmentSettings, BatchMaker
from cnn.training.checkpoint import BEST, load_checkpoint
from cnn.training.normalization import PixelScaling
from foundation.errors import UserError


@dataclass(frozen=True)
class FinishedRun:
    """The best epoch of a run, ready to score and predict."""

    folder: Path
    model: Model
    batches: BatchMaker
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    pack_hash: str
    epoch: int

    @classmethod
    def open(cls, folder: Path, ops: Ops) -> FinishedRun:
        """Load `model.best.safetensors`. Raises `UserError` if `folder` holds none, or a damaged one."""
        if not folder.is_dir():
            raise UserError(f"run={folder}: there is no such folder")
        path = folder / BEST
        tensors, about = load_checkpoint(path)
        height, width, channels = about["image_shape"]
        shape = (height, width, channels)
        model = build_model(about["model"], ops, shape, len(about["classes"]), about["seed"])
        model.load_state(tensors, str(path))
        scaling = PixelScaling(*(np.array(about[f"pixel_{part}"], np.float32) for part in ("scale", "offset")))
        batches = BatchMaker(ops, scaling, AugmentSettings(), about["seed"])
        return cls(folder, model, batches, tuple(about["classes"]), shape, about["pack_hash"], about["epoch"])

    def config(self) -> DictConfig:
        """The config that the run was composed of."""
        path = self.folder / ".hydra" / "config.yaml"
        if not path.is_file():
            raise UserError(f"{path} is missing: it says which data the run was made with")
        config: Any = OmegaConf.load(path)
        return config
