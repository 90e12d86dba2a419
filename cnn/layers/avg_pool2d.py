"""Average pooling."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.pool2d import Pool2D


class AvgPool2D(Pool2D):
    """The mean of each window's pixels inside the image; padding does not count."""

    def forward(self, x: Array, train: bool) -> Array:
        """Average."""
        return self.ops.avg_pool2d(x, self.fixed_window)

    def backward(self, dy: Array) -> Array:
        """Share the gradient out evenly."""
        return self.ops.avg_pool2d_backward(dy, self.fixed_window)
