"""One measurement on the CPU: a network, a batch, threads; and the input of both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import model_config
from benchmarks.workload import SEED, Options, named_options, noise
from cnn.backends import Ops
from cnn.models import Model, build_model

CLASSES = 7
MODEL_WIDTHS = ("widths", "dense_widths")  # multiplied by `width`


@dataclass(frozen=True)
class Cell:
    """A network of `conf/model`, its widths times `width`, on batches of grey images of `side` pixels."""

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
        widths = {
            key: [max(1, round(self.width * each)) for each in plain[key]] for key in MODEL_WIDTHS if key in plain
        }
        return model_config(self.model, **widths)

    def build(self, ops: Ops, config: Mapping[str, Any] | None = None) -> Model:
        """The network with initial weights that are the same in every process."""
        return build_model(config or self.config(), ops, self.input_shape, CLASSES, SEED)

    def data(self, batch: int | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images (n, h, w, c) of noise, and labels (n,): of this cell's batch or of another."""
        return noise(batch or self.batch, self.input_shape, CLASSES)

    @staticmethod
    def options() -> Options:
        """Adam with a rate so low that hundreds of steps on one batch change little."""
        return Options(replace(named_options().optimizer, learning_rate=1e-4))
