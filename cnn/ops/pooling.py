"""Max, average and global average pooling, and their gradients."""

from __future__ import annotations

import numpy as np

from cnn.backends import Array, Window
from cnn.backends.window import Padding, pair
from cnn.ops.convolution import Pair, check_output
from cnn.ops.dispatch import contiguous, kind_of, read


def max_pool2d(
    x: Array,
    kernel: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "valid",
    dilation: Pair = 1,
    ceil: bool = False,
) -> tuple[Array, Array]:
    """The largest value of each window: x (n, h, w, c) to y (n, p, q, c), and the argmax for the gradient.

    Windows of `kernel` pixels are moved by `stride`, by their own size if it is None. `padding` is as for `conv2d` and
    never the maximum. With `ceil` a last window, which may extend beyond the image, covers the pixels that the last
    stride leaves over. The argmax (n, p, q, c) is the number of a pixel in its window, row by row; the first of equal
    pixels.
    """
    given = read(x=(x, "n h w c"))
    (x,) = given.arrays
    y, argmax = given.ops.max_pool2d(x, _window(x.shape[1:3], kernel, stride, padding, dilation, ceil))
    return y, argmax


def max_pool2d_backward(
    dy: Array,
    argmax: Array,
    input_hw: tuple[int, int],
    kernel: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "valid",
    dilation: Pair = 1,
    ceil: bool = False,
) -> Array:
    """dx (n, h, w, c) for dy (n, p, q, c); `argmax` is what `max_pool2d` returned, `input_hw` its input's pixels."""
    given = read(dy=(dy, "n p q c"))
    (dy,) = given.arrays
    window = _window(input_hw, kernel, stride, padding, dilation, ceil)
    check_output(dy, window)
    dtype = np.uint8 if window.taps <= 256 else np.int32
    if kind_of("argmax", argmax) != kind_of("dy", dy) or argmax.dtype != dtype:
        raise TypeError(f"argmax must be what max_pool2d returned for this window, of {np.dtype(dtype)}")
    if argmax.shape != dy.shape:
        raise ValueError(f"argmax has shape {argmax.shape}, but dy {dy.shape}")
    return given.ops.max_pool2d_backward(dy, contiguous(argmax), window)


def avg_pool2d(
    x: Array,
    kernel: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "valid",
    dilation: Pair = 1,
    ceil: bool = False,
    count_include_pad: bool = False,
) -> Array:
    """The mean of each window: x (n, h, w, c) to (n, p, q, c).

    The divisor is the number of a window's pixels inside the image; with `count_include_pad` also of those in the
    padding. The other arguments are those of `max_pool2d`.
    """
    given = read(x=(x, "n h w c"))
    (x,) = given.arrays
    window = _window(x.shape[1:3], kernel, stride, padding, dilation, ceil)
    return given.ops.avg_pool2d(x, window, count_include_pad)


def avg_pool2d_backward(
    dy: Array,
    input_hw: tuple[int, int],
    kernel: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "valid",
    dilation: Pair = 1,
    ceil: bool = False,
    count_include_pad: bool = False,
) -> Array:
    """dx (n, h, w, c) for dy (n, p, q, c); `input_hw` = (h, w)."""
    given = read(dy=(dy, "n p q c"))
    (dy,) = given.arrays
    window = _window(input_hw, kernel, stride, padding, dilation, ceil)
    check_output(dy, window)
    return given.ops.avg_pool2d_backward(dy, window, count_include_pad)


def global_avg_pool2d(x: Array) -> Array:
    """The mean over all pixels: x (n, h, w, c) to (n, c)."""
    given = read(x=(x, "n h w c"))
    (x,) = given.arrays
    return given.ops.global_avg_pool2d(x)


def global_avg_pool2d_backward(dy: Array, input_hw: tuple[int, int]) -> Array:
    """dx (n, h, w, c) for dy (n, c); `input_hw` = (h, w)."""
    given = read(dy=(dy, "n c"))
    (dy,) = given.arrays
    return given.ops.global_avg_pool2d_backward(dy, pair(input_hw, "input_hw"))


def _window(
    hw: tuple[int, int], kernel: Pair, stride: Pair | None, padding: Padding, dilation: Pair, ceil: bool
) -> Window:
    window = Window.over(
        pair(hw, "input_hw"), kernel, kernel if stride is None else stride, padding, dilation, bool(ceil)
    )
    if window.sees_padding_alone:
        raise ValueError(f"padding {padding} lets a {window.kernel} window see nothing but padding")
    return window
