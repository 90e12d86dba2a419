"""What max and average pooling share: a window from the config."""

from __future__ import annotations

from cnn.backends import Window
from cnn.backends.window import Padding
from cnn.layers.base import BuildContext, Layer, Shape, image_shape


class Pool2D(Layer):
    """A window of `kernel` pixels, moved by `stride` (by its own size if none is given).

    `kernel: all` covers the whole image, whatever its size.
    """

    def __init__(
        self,
        kernel: int | str | tuple[int, int] = 2,
        stride: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
    ) -> None:
        super().__init__()
        if isinstance(kernel, str) and kernel != "all":
            raise ValueError(f"kernel must be a number of pixels or 'all', not '{kernel}'")
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def window(self, input_shape: Shape) -> Window:
        """The sliding window over an input of `input_shape`."""
        hw = image_shape(input_shape)[:2]
        kernel = hw if isinstance(self.kernel, str) else self.kernel
        window = Window.over(hw, kernel, kernel if self.stride is None else self.stride, self.padding)
        (top, bottom, left, right), (height, width) = window.padding, window.kernel
        if max(top, bottom) >= height or max(left, right) >= width:
            raise ValueError(f"padding {self.padding} lets a {kernel} window see nothing but padding")
        return window

    def output_shape(self, input_shape: Shape) -> Shape:
        """(p, q, c)."""
        return (*self.window(input_shape).output_hw, input_shape[2])

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Fix the window."""
        super().build(context, input_shape)
        self.fixed_window = self.window(input_shape)
