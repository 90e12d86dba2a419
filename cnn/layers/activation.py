"""What all activations share: shape kept, input kept for the backward pass."""

from __future__ import annotations

from abc import abstractmethod

from cnn.backends import Array
from cnn.layers.base import Layer, Shape


class Activation(Layer):
    """An element-wise function; a subclass names the two operations."""

    def __init__(self) -> None:
        super().__init__()
        self._x: Array | None = None

    @abstractmethod
    def function(self, x: Array) -> Array:
        """Y of x."""

    @abstractmethod
    def gradient(self, dy: Array, x: Array) -> Array:
        """Dx of dy and x."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Unchanged."""
        return input_shape

    def forward(self, x: Array, train: bool) -> Array:
        """Apply the function."""
        self._x = x if train else None
        return self.function(x)

    def backward(self, dy: Array) -> Array:
        """Apply its gradient."""
        x, self._x = self._x, None
        return self.gradient(dy, x)
