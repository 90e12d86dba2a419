"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

from typing import Any

from cnn.backends import Dropout as DropoutStage
from cnn.backends import Stage
from cnn.layers.base import Pass, Pointwise, Tensors, require_float


class Dropout(Pointwise):
    """Zero a fraction `rate` of the elements in training and scale up the rest; do nothing otherwise.

    The mask is a function of (seed, this node's stream, training step), so it repeats on every backend.
    """

    random = True

    def __init__(self, rate: float) -> None:
        self.rate = require_rate(rate)

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Stage | None:
        """The dropout in training, else None."""
        if not ctx.train or self.rate == 0:
            return None
        assert ctx.key is not None
        return DropoutStage(self.rate, ctx.key)


def require_rate(value: Any, name: str = "rate") -> float:
    """`value` as the fraction that is dropped, from 0 to below 1. Raises ValueError."""
    rate = require_float(value, name, 0, 1)
    if rate >= 1 - 2**-16:
        raise ValueError(f"{name} {value} drops everything, since it is decided by random numbers of 16 bits")
    return rate
