"""Pooling kernels."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import MOST_BLOCKS, ceil_div
from cnn.kernels.kernel import Grid, Values, for_each_storage

_SOURCE, _BLOCK = "pooling.cu", (256,)

# Template argument of the kernels that write or read an argmax, and the suffix of their names.
_INDICES = [("unsigned char", "_uint8"), ("int", "_int32")]


def _outputs(values: Values) -> Grid:
    """One thread per output pixel and four channels, or one channel if their number is not a multiple of four."""
    window = values["window"]
    return _threads(window["p"] * window["q"], window)


def _cells(values: Values) -> Grid:
    """The same per `stride_h` x `stride_w` cell of input pixels."""
    window = values["window"]
    return _threads(
        _cells_along(window["h"], window["stride_h"], window["top"])
        * _cells_along(window["w"], window["stride_w"], window["left"]),
        window,
    )


def _cells_along(size: int, stride: int, padding: int) -> int:
    """The number of cells of `stride` padded pixels, beginning with the padding, that contain a pixel of the image."""
    return (padding + size - 1) // stride - padding // stride + 1


def _threads(places: int, window: Values) -> Grid:
    packs = window["c"] // 4 if window["c"] % 4 == 0 else window["c"]
    return (min(ceil_div(window["n"] * places * packs, _BLOCK[0]), MOST_BLOCKS),)


def _images_by_channels(values: Values) -> Grid:
    """One block per image and up to 32 channels (see `ChannelLane`)."""
    lanes = min(32, 1 << (values["c"] - 1).bit_length())
    return (values["n"] * ceil_div(values["c"], lanes),)


def _taps(values: Values) -> int:
    """One operation per tap and output element."""
    window = values["window"]
    return window["n"] * window["p"] * window["q"] * window["c"] * window["kh"] * window["kw"]


POOLING = [
    *(
        kernel
        for index, ending in _INDICES
        for kernel in (
            *for_each_storage(
                f"max_pool2d{ending}",
                _SOURCE,
                f"max_pool2d<{index}, T>",
                f"const T* x, T* y, {index}* argmax, Window2D window",
                _BLOCK,
                _outputs,
                _taps,
            ),
            *for_each_storage(
                f"max_pool2d_backward{ending}",
                _SOURCE,
                f"max_pool2d_backward<{index}, T>",
                f"const T* dy, const {index}* argmax, T* dx, Window2D window",
                _BLOCK,
                _cells,
                _taps,
            ),
        )
    ),
    *for_each_storage(
        "avg_pool2d",
        _SOURCE,
        "avg_pool2d<T>",
        "const T* x, T* y, Window2D window, Margins counted",
        _BLOCK,
        _outputs,
        _taps,
    ),
    *for_each_storage(
        "avg_pool2d_backward",
        _SOURCE,
        "avg_pool2d_backward<T>",
        "const T* dy, T* dx, Window2D window, Margins counted",
        _BLOCK,
        _cells,
        _taps,
    ),
    *for_each_storage(
        "global_avg_pool2d",
        _SOURCE,
        "global_avg_pool2d<T>",
        "const T* x, T* y, int n, int pixels, int c",
        _BLOCK,
        _images_by_channels,
        lambda v: v["n"] * v["pixels"] * v["c"],
    ),
    *for_each_storage(
        "global_avg_pool2d_backward",
        _SOURCE,
        "global_avg_pool2d_backward<T>",
        "const T* dy, T* dx, int n, int pixels, int c",
        _BLOCK,
        _images_by_channels,
        lambda v: v["n"] * v["c"],
    ),
]
