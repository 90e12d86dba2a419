"""Max and average pooling over a sliding window."""

from __future__ import annotations

from cnn.backends import Pool, Window
from cnn.backends.window import Padding, pair
from cnn.layers.base import Pass, Pointwise, Shape, Tensors, image_shape, require_bool


class Pool2D(Pointwise):
    """A window of `kernel` pixels, moved by `stride` (by its own size if none is given).

    `kernel: all` covers an image of any size. `padding` and `dilation` are as for a convolution. With `ceil` a last
    window, which may extend beyond the image, covers the pixels that the last stride leaves over.
    """

    def __init__(
        self,
        kernel: int | str | tuple[int, int] = 2,
        stride: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        dilation: int | tuple[int, int] = 1,
        ceil: bool = False,
    ) -> None:
        if isinstance(kernel, str) and kernel != "all":
            raise ValueError(f"kernel must be a number of pixels or 'all', not '{kernel}'")
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.dilation, self.ceil = dilation, require_bool(ceil, "ceil")

    def window(self, input_shape: Shape) -> Window:
        """The sliding window over an input of `input_shape`."""
        hw = image_shape(input_shape)[:2]
        kernel = pair(hw if isinstance(self.kernel, str) else self.kernel, "kernel")
        return Window.over(
            hw, kernel, kernel if self.stride is None else self.stride, self.padding, self.dilation, self.ceil
        )

    def output_shape(self, input_shape: Shape) -> Shape:
        """(p, q, c)."""
        window = self.window(input_shape)
        if window.sees_padding_alone:
            raise ValueError(f"with padding {self.padding} a {window.kernel} window sees nothing but padding")
        return (*window.output_hw, input_shape[2])


class MaxPool2D(Pool2D):
    """The largest value in each window."""

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Pool:
        """The pooling over the window of this input."""
        return Pool("max", self.window(ctx.shape))


class AvgPool2D(Pool2D):
    """The mean of each window's pixels inside the image; with `count_include_pad` padding counts, too."""

    def __init__(
        self,
        kernel: int | str | tuple[int, int] = 2,
        stride: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        dilation: int | tuple[int, int] = 1,
        ceil: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        super().__init__(kernel, stride, padding, dilation, ceil)
        self.count_include_pad = require_bool(count_include_pad, "count_include_pad")

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Pool:
        """The pooling over the window of this input."""
        return Pool("average", self.window(ctx.shape), self.count_include_pad)
