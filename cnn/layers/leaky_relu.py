"""Leaky rectified linear unit (Maas et al. 2013)."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.activation import Activation


class LeakyReLU(Activation):
    """X where x > 0, else slope * x."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = float(slope)

    def function(self, x: Array) -> Array:
        """X where x > 0, else slope * x."""
        return self.ops.leaky_relu(x, self.slope)

    def gradient(self, dy: Array, x: Array) -> Array:
        """Dy where x > 0, else slope * dy."""
        return self.ops.leaky_relu_backward(dy, x, self.slope)
