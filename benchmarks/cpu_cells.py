"""What one measurement on the CPU is of: a network, a batch, threads; and the numbers that both sides are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from cnn.backends import Ops
from cnn.benchmarking.models import model_config
from cnn.models import Model, build_model
from foundation.entry import config_dir

CLASSES, SEED = 7, 0
LEARNING_RATE = 1e-4  # of Adam: the hundreds of steps on one batch change little
MODEL_WIDTHS = ("widths", "dense_widths")  # what `width` multiplies


@dataclass(frozen=True)
class Cell:
    """A network of `conf/model`, its widths times `width`, on batches of grey pictures of `side` pixels."""

    model: str
    batch: int
    threads: int
    side: int = 48
    width: float = 1.0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, c)."""
        return self.side, self.side, 1

    def config(self) -> dict[str, Any]:
        """The network as plain mappings and lists. Raises `UserError` for an unknown name."""
        plain = model_config(self.model)
        if self.width == 1:
            return plain
        config = OmegaConf.create({"model": OmegaConf.load(config_dir() / "model" / f"{self.model}.yaml")})
        for key in MODEL_WIDTHS:
            if key in config.model:
                config.model[key] = [max(1, round(self.width * each)) for each in config.model[key]]
        scaled = OmegaConf.to_container(config.model, resolve=True)
        assert isinstance(scaled, dict)
        return {str(key): value for key, value in scaled.items()}

    def build(self, ops: Ops, config: Mapping[str, Any] | None = None) -> Model:
        """The network with the weights that every process draws alike."""
        return build_model(config or self.config(), ops, self.input_shape, CLASSES, SEED)

    def data(self, batch: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Pictures (n, h, w, c) of standard normal noise, and labels (n,): of this cell's batch or of another."""
        random = np.random.default_rng(SEED)
        size = batch or self.batch
        return random.standard_normal((size, *self.input_shape), np.float32), random.integers(0, CLASSES, size)


def optimizer_config() -> DictConfig:
    """Adam, as `conf/optimizer/adam.yaml` has it."""
    adam = OmegaConf.load(config_dir() / "optimizer" / "adam.yaml")
    return OmegaConf.create({"optimizer": OmegaConf.merge(adam, {"learning_rate": LEARNING_RATE})})
