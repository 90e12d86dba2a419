"""Gaussian error linear unit (Hendrycks & Gimpel 2016)."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.activation import Activation


class GELU(Activation):
    """X times the normal distribution function of x, exact."""

    def function(self, x: Array) -> Array:
        """X * Phi(x)."""
        return self.ops.gelu(x)

    def gradient(self, dy: Array, x: Array) -> Array:
        """Dy * (Phi(x) + x * phi(x))."""
        return self.ops.gelu_backward(dy, x)
