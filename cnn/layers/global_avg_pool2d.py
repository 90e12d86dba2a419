"""Global average pooling (Lin et al. 2013)."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers.base import BuildContext, Layer, Shape, image_shape


class GlobalAvgPool2D(Layer):
    """The mean over all pixels, (n, h, w, c) to (n, c)."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """(c,)."""
        return (image_shape(input_shape)[2],)

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Remember the image's size."""
        super().build(context, input_shape)
        self._hw = image_shape(input_shape)[:2]

    def forward(self, x: Array, train: bool) -> Array:
        """Average over all pixels."""
        return self.ops.global_avg_pool2d(x)

    def backward(self, dy: Array) -> Array:
        """Share the gradient out evenly."""
        return self.ops.global_avg_pool2d_backward(dy, self._hw)
