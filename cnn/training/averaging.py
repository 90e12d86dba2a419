"""Averages of the weights along training: the moving average that is scored, and lookahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import Model
from cnn.models.arena import Arena
from foundation.errors import UserError


class MovingAverage:
    """The exponential moving average of a model's weights and running statistics (Polyak & Juditsky 1992).

    After step t it moves by 1 - min(decay, (1 + t) / (10 + t)) of its distance from the weights, so that it does not
    remember the initial ones (as in TensorFlow's ExponentialMovingAverage). `model` is the averaged model.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.decay, self.of, self.model = decay, model, model.twin()

    def shares(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """By how much the average moves after each of these steps, counted from 1."""
        return (1 - np.minimum(self.decay, (1 + steps) / (10 + steps))).astype(np.float32)

    def update(self, share: Array) -> None:
        """Move by `share` float32 (1,)."""
        rounded = self.model.rounded
        self.of.ops.blend(self.model.values.flat, self.of.values.flat, share, None if rounded is None else rounded.flat)
        if self.of.statistics.flat.size:
            self.of.ops.blend(self.model.statistics.flat, self.of.statistics.flat, share)


class Lookahead:
    """Slow weights that follow the optimizer's, which return to them every few steps (Zhang et al. 2019)."""

    def __init__(self, model: Model, every: int, share: float) -> None:
        """Every `every` steps the slow weights move by `share` of the way, and the optimizer goes on from there."""
        self.model, self.every, self.share = model, every, share
        self._slow = Arena(model.ops, {name: each.shape for name, each in model.values.tensors.items()}, model.dtype)
        self._slow.fill(model.values.on_host())

    def shares(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """(steps, 2): by how much the slow weights move, and then the weights, after each step, counted from 1."""
        meets = steps % self.every == 0
        return np.stack([meets * self.share, meets], axis=1).astype(np.float32)

    def update(self, slow: Array, fast: Array) -> None:
        """Move the slow weights and then the weights by these shares float32 (1,)."""
        values, rounded = self.model.values.flat, self.model.rounded
        self.model.ops.blend(self._slow.flat, values, slow)
        self.model.ops.blend(values, self._slow.flat, fast, None if rounded is None else rounded.flat)

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of the slow weights on the host."""
        return self._slow.on_host()

    def load_state(self, state: Mapping[str, NDArray[Any]], origin: str) -> None:
        """Load slow weights. Raises `UserError`, naming `origin`, if they are not of this model."""
        shapes = {name: each.shape for name, each in self._slow.tensors.items()}
        if {name: each.shape for name, each in state.items()} != shapes:
            raise UserError(f"{origin}: the slow weights of lookahead are of another model: resume with the same")
        self._slow.fill(state)


def check_averaging(ema: float | None, lookahead: int | None, lookahead_share: float) -> None:
    """Raise `UserError` for an option of averaging out of range."""
    if ema is not None and not 0 <= ema < 1:
        raise UserError(f"trainer.ema is the weight of the past, from 0 to below 1, or null for none, not {ema}")
    if lookahead is not None and lookahead < 1:
        raise UserError(f"trainer.lookahead must be at least 1 step, or null for none, not {lookahead}")
    if not 0 < lookahead_share <= 1:
        raise UserError(f"trainer.lookahead_share must be above 0 and at most 1, not {lookahead_share}")
