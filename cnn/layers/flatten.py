"""From image to vector."""

from __future__ import annotations

import math

from cnn.backends import Array
from cnn.layers.base import Layer, Pass, Shape, Tensors


class Flatten(Layer):
    """(n, h, w, c) to (n, h * w * c), without a copy."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """(h * w * c,)."""
        return (math.prod(input_shape),)

    def forward(self, params: Tensors, x: Array, ctx: Pass) -> tuple[Array, Shape]:
        """Reshape."""
        return x.reshape(len(x), -1), x.shape

    def backward(self, params: Tensors, saved: Shape, dy: Array, grads: Tensors, ctx: Pass) -> Array:
        """Reshape back."""
        return dy.reshape(saved)
