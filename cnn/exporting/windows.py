"""How other libraries see our sliding windows: padding they can express, and averages they cannot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Window
from cnn.backends.reference.pooling import divisors
from cnn.layers import AvgPool2D


def pads(window: Window) -> tuple[int, int, int, int]:
    """Pixels of padding at the top, bottom, left and right; those that `ceil` adds beyond it are included."""
    top, bottom, left, right = window.padding
    return top, bottom + window.overhang[0], left, right + window.overhang[1]


def even(window: Window) -> bool:
    """Whether opposite sides have the same padding, which is all that PyTorch's layers have."""
    top, bottom, left, right = pads(window)
    return top == bottom and left == right


def plain_average(window: Window) -> bool:
    """Whether every window of an average pooling lies inside the image, without gaps."""
    return not window.has_padding and window.dilation == (1, 1)


def shares(layer: AvgPool2D, window: Window) -> NDArray[np.float32]:
    """What the sum of each window is multiplied by for its average: (p, q), one over the number of pixels in it."""
    return (1 / divisors(window, layer.count_include_pad))[..., 0].astype(np.float32)
