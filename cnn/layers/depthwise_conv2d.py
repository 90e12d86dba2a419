"""Depthwise convolution: every channel has its own filters."""

from __future__ import annotations

from cnn.backends.window import Padding
from cnn.layers.base import require_int
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
        self.multiplier = require_int(multiplier, "multiplier")
        super().__init__(self.multiplier, kernel, stride, padding, dilation, 1, bias, l2, init)

    def groups_and_filters(self, channels: int) -> tuple[int, int]:
        """One group per channel."""
        return channels, channels * self.multiplier
