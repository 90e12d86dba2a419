"""Rectified linear unit."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.activation import Activation


class ReLU(Activation):
    """max(x, 0)."""

    def forward(self, x: Array, train: bool) -> Array:
        """Apply it, and keep the output in place of the input: the next layer keeps it too, so it costs nothing."""
        y = self.function(x)
        self._x = y if train else None
        return y

    def function(self, x: Array) -> Array:
        """max(x, 0)."""
        return self.ops.relu(x)

    def gradient(self, dy: Array, x: Array) -> Array:
        """Dy where x > 0."""
        return self.ops.relu_backward(dy, x)
