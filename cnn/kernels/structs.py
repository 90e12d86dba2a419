"""The structs that kernels take by value, as NumPy dtypes of the same layout.

Each has its twin of the same name and field order in a `.cuh` file; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# How many tensors one launch of an optimizer kernel updates. A launch passes at most 4 KiB of arguments on
# every architecture, which bounds it.
TENSORS_PER_LAUNCH = 64

_WINDOW_FIELDS = (
    *("n", "h", "w", "c"),  # the input: pictures, rows, columns, channels
    *("p", "q"),  # rows and columns of the output
    *("kh", "kw"),  # taps
    *("stride_h", "stride_w", "dilation_h", "dilation_w", "top", "left"),
)


_DIVIDER = np.dtype([(name, np.uint32) for name in ("divisor", "multiplier", "shift")], align=True)
_CONV_DIVIDERS = ("p", "q", "h", "w", "kw", "stride_h", "stride_w", "channels", "filters")


def _int_struct(fields: tuple[str, ...]) -> np.dtype[Any]:
    return np.dtype([(name, np.int32) for name in fields], align=True)


STRUCTS: Mapping[str, np.dtype[Any]] = {
    # window.cuh: a window that slides over a batch of NHWC images
    "Window2D": _int_struct(_WINDOW_FIELDS),
    # divider.cuh: fast division by a number that stays the same, and all those of a convolution
    "Divider": _DIVIDER,
    "ConvDividers": np.dtype([(name, _DIVIDER) for name in _CONV_DIVIDERS], align=True),
    # tensor_list.cuh: the tensors that one launch updates; addresses of float32 arrays
    "TensorList": np.dtype(
        [
            ("param", np.uint64, TENSORS_PER_LAUNCH),
            ("grad", np.uint64, TENSORS_PER_LAUNCH),
            ("first", np.uint64, TENSORS_PER_LAUNCH),
            ("second", np.uint64, TENSORS_PER_LAUNCH),
            ("size", np.int32, TENSORS_PER_LAUNCH),
            ("weight_decay", np.float32, TENSORS_PER_LAUNCH),
        ],
        align=True,
    ),
}


def divider(divisor: int) -> tuple[int, int, int]:
    """The fields of a `Divider` by `divisor` >= 1: quotient of n is (mulhi(n, multiplier) + n) >> shift."""
    shift = (divisor - 1).bit_length()
    return divisor, ((((1 << shift) - divisor) << 32) // divisor + 1) & 0xFFFFFFFF, shift
