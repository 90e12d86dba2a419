"""Exponential linear unit (Clevert et al. 2015)."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.activation import Activation


class ELU(Activation):
    """X where x > 0, else alpha * (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = float(alpha)

    def function(self, x: Array) -> Array:
        """X where x > 0, else alpha * (exp(x) - 1)."""
        return self.ops.elu(x, self.alpha)

    def gradient(self, dy: Array, x: Array) -> Array:
        """Dy where x > 0, else dy * alpha * exp(x)."""
        return self.ops.elu_backward(dy, x, self.alpha)
