"""Global average pooling (Lin et al. 2013)."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.base import Layer, Pass, Shape, Tensors, image_shape


class GlobalAvgPool2D(Layer):
    """The mean over all pixels, (n, h, w, c) to (n, c)."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """(c,)."""
        return (image_shape(input_shape)[2],)

    def forward(self, params: Tensors, x: Array, ctx: Pass) -> tuple[Array, tuple[int, int]]:
        """Average over all pixels."""
        return ctx.ops.global_avg_pool2d(x), x.shape[1:3]

    def backward(self, params: Tensors, saved: tuple[int, int], dy: Array, grads: Tensors, ctx: Pass) -> Array:
        """Spread the gradient evenly."""
        return ctx.ops.global_avg_pool2d_backward(dy, saved)
