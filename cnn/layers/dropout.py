"""Dropout (Srivastava et al. 2014)."""

from __future__ import annotations

from cnn.backends import Array, RandomKey
from cnn.layers.base import BuildContext, Layer, Shape, within


class Dropout(Layer):
    """Zero a share `rate` of the elements in training and scale up the rest; do nothing otherwise.

    The mask is a function of (seed, this layer's stream, training step), so it repeats on every backend.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = within(rate, "rate", 0, 1)
        if self.rate >= 1 - 2**-16:
            raise ValueError(f"rate {rate} drops everything, since masks are drawn from 16 bits an element")
        self._mask: Array | None = None

    def output_shape(self, input_shape: Shape) -> Shape:
        """Unchanged."""
        return input_shape

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Take a random stream of its own."""
        super().build(context, input_shape)
        self._context, self._stream = context, context.new_stream()

    def forward(self, x: Array, train: bool) -> Array:
        """Drop, in training."""
        if not train or self.rate == 0:
            self._mask = None
            return x
        key = RandomKey(self._context.seed, self._stream, self._context.step)
        y, self._mask = self.ops.dropout(x, self.rate, key)
        return y

    def backward(self, dy: Array) -> Array:
        """Let the gradient through where the value went through."""
        mask, self._mask = self._mask, None
        return dy if mask is None else self.ops.dropout_backward(dy, mask, self.rate)
