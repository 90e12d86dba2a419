"""The structs that kernels take by value, as NumPy dtypes of the same layout.

Each mirrors a struct of the same name and field order in a `.cu` or `.cuh` file; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_WINDOW_FIELDS = (
    *("n", "h", "w", "c"),  # the input: images, rows, columns, channels
    *("p", "q"),  # rows and columns of the output
    *("kh", "kw"),  # taps
    *("stride_h", "stride_w", "dilation_h", "dilation_w", "top", "left"),
)


_AUGMENT_DOUBLES = (
    *("rotate", "zoom", "erase_rate", "least_area", "most_area"),
    *("least_crop", "brightness", "contrast"),
)
_AUGMENT_WORDS = ("seed_low", "seed_high", "move_stream", "warp_stream", "crop_stream", "tone_stream")

_DIVMOD = np.dtype([(name, np.uint32) for name in ("divisor", "multiplier", "shift")], align=True)
_SLIDING = ("stride_h", "stride_w", "dilation_h", "dilation_w", "top", "left", "kh", "kw")
_GATHER_FIELDS = (
    *("rows", "p", "q", "h", "w", "c", *_SLIDING, "n", "w_first", "w_down", "w_across"),
    *("out_h", "out_w", "step_h", "step_w", "first_h", "first_w", "steps_per_split"),
)
_WGRAD_FIELDS = ("pixels", "pixels_per_split", "p", "q", "h", "w", "c", "n", *_SLIDING)
_CONV_DIVMODS = ("p", "q", "h", "w", "kw", "stride_h", "stride_w", "channels", "filters")


def _int_struct(fields: tuple[str, ...]) -> np.dtype[Any]:
    return np.dtype([(name, np.int32) for name in fields], align=True)


def _mixed_struct(fields: tuple[str, ...]) -> np.dtype[Any]:
    """Whole numbers, but for the two sides of the result, which are divided by."""
    return np.dtype([(name, _DIVMOD if name in ("p", "q") else np.int32) for name in fields], align=True)


STRUCTS: Mapping[str, np.dtype[Any]] = {
    # window.cuh: a window that slides over a batch of NHWC images
    "Window2D": _int_struct(_WINDOW_FIELDS),
    # pooling.cu: the padding that counts in a mean
    "Margins": _int_struct(("top", "bottom", "left", "right")),
    # tail.cu: what follows the normalisation in the tail of a block
    "TailStages": np.dtype(
        [
            ("columns", _DIVMOD),
            *((name, np.int32) for name in ("relu", "dropout")),
            *((name, np.uint32) for name in ("threshold", "seed_low", "seed_high", "stream")),
            ("scale", np.float32),
        ],
        align=True,
    ),
    # batches.cu: how images are augmented
    "AugmentRules": np.dtype(
        [
            *((name, np.float64) for name in _AUGMENT_DOUBLES),
            *((name, np.uint32) for name in _AUGMENT_WORDS),
            *((name, np.int32) for name in ("h", "w", "flip", "reach_h", "reach_w")),
        ],
        align=True,
    ),
    # fast_divmod.cuh: fast division by a constant, and all divisors of a convolution
    "FastDivmod": _DIVMOD,
    "ConvDivmods": np.dtype([(name, _DIVMOD) for name in _CONV_DIVMODS], align=True),
    # convolution_tensor.cu: products over gathered pixels, and the filter gradient
    "GatherShape": _mixed_struct(_GATHER_FIELDS),
    "WgradShape": _mixed_struct(_WGRAD_FIELDS),
}


def fast_divmod(divisor: int) -> tuple[int, int, int]:
    """The fields of a `FastDivmod` by `divisor` >= 1: quotient of n is (mulhi(n, multiplier) + n) >> shift."""
    shift = (divisor - 1).bit_length()
    return divisor, ((((1 << shift) - divisor) << 32) // divisor + 1) & 0xFFFFFFFF, shift
