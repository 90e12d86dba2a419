"""Depthwise convolution: every channel has filters of its own."""

from __future__ import annotations

from cnn.backends.window import Padding
from cnn.layers.base import BuildContext, Shape, image_shape, positive
from cnn.layers.conv2d import Conv2D


class DepthwiseConv2D(Conv2D):
    """A convolution with as many groups as input channels, and `multiplier` filters for each channel."""

    def __init__(
        self,
        multiplier: int = 1,
        kernel: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "same",
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        l2: float = 0.0,
        init: str | None = None,
    ) -> None:
        self.multiplier = positive(multiplier, "multiplier")
        # The channels are known once an input is; until then one group of one filter per multiplier stands in.
        super().__init__(self.multiplier, kernel, stride, padding, dilation, 1, bias, l2, init)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(p, q, c * multiplier)."""
        self._adopt(input_shape)
        return super().output_shape(input_shape)

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Make `weight` (kh, kw, 1, c * multiplier) and `bias` (c * multiplier,)."""
        self._adopt(input_shape)
        super().build(context, input_shape)

    def _adopt(self, input_shape: Shape) -> None:
        self.groups = image_shape(input_shape)[2]
        self.filters = self.groups * self.multiplier
