"""Rectified linear unit."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.activation import Activation


class ReLU(Activation):
    """max(x, 0). Where the layer before applies it already (`cnn/models/fuse.py`), nothing is left to do here."""

    fused = False

    def forward(self, x: Array, train: bool) -> Array:
        """Apply it, and keep the output in place of the input: the next layer keeps it too, so it costs nothing."""
        if self.fused:
            return x
        y = self.function(x)
        self._x = y if train else None
        return y

    def backward(self, dy: Array) -> Array:
        """Apply its gradient."""
        return dy if self.fused else super().backward(dy)

    def function(self, x: Array) -> Array:
        """max(x, 0)."""
        return self.ops.relu(x)

    def gradient(self, dy: Array, x: Array) -> Array:
        """Dy where x > 0."""
        return self.ops.relu_backward(dy, x)
