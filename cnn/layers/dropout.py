"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

from typing import Any, ClassVar

from cnn.backends import Dropout as DropoutStage
from cnn.backends import DropPath as DropPathStage
from cnn.backends import Stage
from cnn.layers.base import Pass, Pointwise, Tensors, require_float


class RandomDrop(Pointwise):
    """Zeroes a fraction `rate` of something in training and scales up the rest; does nothing otherwise.

    What is dropped is a function of (seed, this node's stream, training step), so it repeats on every backend.
    """

    random = True
    drops: ClassVar[type[DropoutStage] | type[DropPathStage]]  # the stage in training

    def __init__(self, rate: float) -> None:
        self.rate = require_rate(rate)

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Stage | None:
        """The stage in training, else None."""
        if not ctx.train or self.rate == 0:
            return None
        assert ctx.key is not None
        return self.drops(self.rate, ctx.key)


class Dropout(RandomDrop):
    """Zero a fraction `rate` of the elements in training and scale up the rest; do nothing otherwise."""

    drops = DropoutStage


def require_rate(value: Any, name: str = "rate") -> float:
    """`value` as the fraction that is dropped, from 0 to below 1. Raises ValueError."""
    rate = require_float(value, name, 0, 1)
    if rate >= 1 - 2**-16:
        raise ValueError(f"{name} {value} drops everything, since it is decided by random numbers of 16 bits")
    return rate
