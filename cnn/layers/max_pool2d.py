"""Max pooling."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.pool2d import Pool2D


class MaxPool2D(Pool2D):
    """The largest value in each window. Where the batch norm before takes it already, nothing is left to do here."""

    fused = False
    _winner: Array | None = None

    def forward(self, x: Array, train: bool) -> Array:
        """Take the maximum and remember where it stood."""
        if self.fused:
            return x
        y, winner = self.ops.max_pool2d(x, self.fixed_window)
        self._winner = winner if train else None
        return y

    def backward(self, dy: Array) -> Array:
        """Send the gradient to where the maximum stood."""
        if self.fused:
            return dy
        winner, self._winner = self._winner, None
        return self.ops.max_pool2d_backward(dy, winner, self.fixed_window)
