"""From image to vector."""

from __future__ import annotations

import math

from cnn.backends import Array
from cnn.layers.base import BuildContext, Layer, Shape


class Flatten(Layer):
    """(n, h, w, c) to (n, h * w * c), without a copy."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """(h * w * c,)."""
        return (math.prod(input_shape),)

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Remember the shape to return to."""
        super().build(context, input_shape)
        self._shape = input_shape

    def forward(self, x: Array, train: bool) -> Array:
        """Reshape."""
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        """Reshape back."""
        return dy.reshape(len(dy), *self._shape)
