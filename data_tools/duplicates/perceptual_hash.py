"""A 64-bit hash that re-encoding, resizing and brightening hardly change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

_LOWEST = 8


def perceptual_hashes(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (n, 8): the signs of the 8 x 8 lowest cosine frequencies of (n, h, w) pictures, against their median.

    The pHash of Zauner (2010), on the picture as it is instead of on its 32 x 32 reduction. Two hashes are compared
    by the number of bits that differ.
    """
    out = np.empty((len(pictures), _LOWEST), np.uint8)
    for at in range(0, len(pictures), 4096):
        waves = fft.dctn(pictures[at : at + 4096].astype(np.float32), axes=(1, 2), norm="ortho")
        lowest = waves[:, :_LOWEST, :_LOWEST].reshape(-1, _LOWEST * _LOWEST)
        # The constant term is brightness: it takes no part in the median.
        bits = lowest > np.median(lowest[:, 1:], axis=1, keepdims=True)
        out[at : at + 4096] = np.packbits(bits, axis=1)
    return out
