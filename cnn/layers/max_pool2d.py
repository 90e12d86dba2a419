"""Max pooling."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.pool2d import Pool2D


class MaxPool2D(Pool2D):
    """The largest value in each window."""

    _winner: Array | None = None

    def forward(self, x: Array, train: bool) -> Array:
        """Take the maximum and remember where it stood."""
        y, winner = self.ops.max_pool2d(x, self._window)
        self._winner = winner if train else None
        return y

    def backward(self, dy: Array) -> Array:
        """Send the gradient to where the maximum stood."""
        winner, self._winner = self._winner, None
        return self.ops.max_pool2d_backward(dy, winner, self._window)
