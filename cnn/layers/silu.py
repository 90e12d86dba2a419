"""Sigmoid linear unit, also called swish (Elfwing et al. 2017)."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.activation import Activation


class SiLU(Activation):
    """X * sigmoid(x)."""

    def function(self, x: Array) -> Array:
        """X * sigmoid(x)."""
        return self.ops.silu(x)

    def gradient(self, dy: Array, x: Array) -> Array:
        """Dy * s * (1 + x * (1 - s)), s the sigmoid of x."""
        return self.ops.silu_backward(dy, x)
