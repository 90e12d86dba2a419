"""Convolution and its gradients."""

from __future__ import annotations

from cnn.backends import Array, Window
from cnn.backends.window import Padding, pair
from cnn.ops.dispatch import read

Pair = int | tuple[int, int]


def conv2d(
    x: Array,
    w: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation: x (n, h, w, c) with filters w (kh, kw, c / groups, k) and bias (k,) to y (n, p, q, k).

    `padding` is "same" (p = ceil(h / stride), an odd pixel at the bottom and right), "same_lower" (there at the top and
    left), "valid" (none), a number of pixels, (vertical, horizontal) or (top, bottom, left, right). Filter j reads the
    channels of group j // (k / groups); groups = c is a depthwise convolution.
    """
    given = read(x=(x, "n h w c"), w=(w, "kh kw d k"), bias=(bias, "k"))
    x, w, bias = given.arrays
    _check_groups(groups, given.sizes["c"], given.sizes["d"], given.sizes["k"])
    window = Window.over(_hw(given.sizes), _kernel(given.sizes), stride, padding, dilation)
    return given.ops.conv2d(x, w, bias, window, groups)


def conv2d_backward_input(
    dy: Array,
    w: Array,
    input_hw: tuple[int, int],
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """The gradient dx (n, h, w, c) of the input, which had `input_hw` = (h, w) pixels, for dy (n, p, q, k).

    The other arguments are those of `conv2d`. It is also the transposed convolution of dy.
    """
    given = read(dy=(dy, "n p q k"), w=(w, "kh kw d k"))
    dy, w = given.arrays
    _check_groups(groups, given.sizes["d"] * groups, given.sizes["d"], given.sizes["k"])
    window = Window.over(pair(input_hw, "input_hw"), _kernel(given.sizes), stride, padding, dilation)
    check_output(dy, window)
    return given.ops.conv2d_backward_input(dy, w, window, groups)


def conv2d_backward_filter(
    dy: Array,
    x: Array,
    kernel: Pair,
    stride: Pair = 1,
    padding: Padding = "same",
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """The gradient dw (kh, kw, c / groups, k) of filters of `kernel` = (kh, kw) pixels, for dy (n, p, q, k).

    x (n, h, w, c) is the input; the other arguments are those of `conv2d`.
    """
    given = read(dy=(dy, "n p q k"), x=(x, "n h w c"))
    dy, x = given.arrays
    _check_groups(groups, given.sizes["c"], given.sizes["c"] // max(groups, 1), given.sizes["k"])
    window = Window.over(_hw(given.sizes), kernel, stride, padding, dilation)
    check_output(dy, window)
    return given.ops.conv2d_backward_filter(dy, x, window, groups)


def bias_backward(dy: Array) -> Array:
    """The gradient (k,) of a bias: dy (..., k) summed over all but the last axis."""
    given = read(dy=(dy, "... k"))
    (dy,) = given.arrays
    return given.ops.bias_backward(dy)


def check_output(dy: Array, window: Window) -> None:
    """Raise ValueError if dy (n, p, q, k) has another size than the window's output."""
    if dy.shape[1:3] != window.output_hw:
        raise ValueError(
            f"dy has {dy.shape[1]}x{dy.shape[2]} pixels, but an input of {window.input_hw[0]}x{window.input_hw[1]} "
            f"gives {window.output_hw[0]}x{window.output_hw[1]} with this kernel, stride, padding and dilation"
        )


def _check_groups(groups: int, channels: int, depth: int, filters: int) -> None:
    if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
        raise ValueError(f"groups must be a whole number of at least 1, not {groups!r}")
    if channels != depth * groups or filters % groups:
        raise ValueError(
            f"x of {channels} channels and filters (kh, kw, {depth}, {filters}) do not make {groups} groups: filters "
            "are (kh, kw, channels / groups, k), and groups divides k"
        )


def _hw(sizes: dict[str, int]) -> tuple[int, int]:
    return sizes["h"], sizes["w"]


def _kernel(sizes: dict[str, int]) -> tuple[int, int]:
    return sizes["kh"], sizes["kw"]
