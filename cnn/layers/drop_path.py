"""Stochastic depth (Huang et al. 2016)."""

from __future__ import annotations

from cnn.backends import DropPath as DropPathStage
from cnn.backends import Stage
from cnn.layers.base import Pass, Pointwise, Tensors
from cnn.layers.dropout import require_rate


class DropPath(Pointwise):
    """Zero a fraction `rate` of the examples in training and scale up the rest; do nothing otherwise.

    At the end of a residual branch it leaves out the branch: the block is then its shortcut alone. Which examples are
    dropped is a function of (seed, this node's stream, training step), so it repeats on every backend.
    """

    random = True

    def __init__(self, rate: float) -> None:
        self.rate = require_rate(rate)

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Stage | None:
        """The stochastic depth in training, else None."""
        if not ctx.train or self.rate == 0:
            return None
        assert ctx.key is not None
        return DropPathStage(self.rate, ctx.key)
