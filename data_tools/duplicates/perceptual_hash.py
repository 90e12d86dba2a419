"""The perceptual hash: 64 bits that re-encoding, resizing and brightening hardly change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

_LOWEST = 8


def perceptual_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Hashes uint8 (n, 8) of images (n, h, w): which of the 8 x 8 lowest cosine frequencies lie above their median.

    This is the pHash of Zauner (2010), computed from the full image instead of a 32 x 32 reduction. The distance of
    two hashes is the number of bits that differ.
    """
    out = np.empty((len(images), _LOWEST), np.uint8)
    for at in range(0, len(images), 4096):
        waves = fft.dctn(images[at : at + 4096].astype(np.float32), axes=(1, 2), norm="ortho")
        lowest = waves[:, :_LOWEST, :_LOWEST].reshape(-1, _LOWEST * _LOWEST)
        # The constant term is the brightness, which the median leaves out.
        bits = lowest > np.median(lowest[:, 1:], axis=1, keepdims=True)
        out[at : at + 4096] = np.packbits(bits, axis=1)
    return out
