"""Pictures in the one form that twins are searched in: 48 x 48, grey, float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_tools.images import fit

SIDE = 48
Floats = NDArray[np.float32]


def grey(images: Sequence[np.ndarray]) -> NDArray[np.uint8]:
    """uint8 (n, 48, 48) of images (h, w, c) uint8 of any size: another size is resampled, colour becomes luma.

    Much smaller images have lost the detail by which photographs are told apart: at 4 x 4 strangers become twins.
    """
    if not images:
        return np.zeros((0, SIDE, SIDE), np.uint8)
    return np.stack([fit(image[:, :, 0] if image.shape[2] == 1 else image, SIDE, 1)[:, :, 0] for image in images])


def is_blank(pictures: NDArray[np.uint8], below: float) -> NDArray[np.bool_]:
    """(n,) bool: whether the standard deviation of a picture's grey levels is smaller than `below`."""
    return pictures.std(axis=(1, 2)) < below


def standardised(pictures: NDArray[np.uint8]) -> Floats:
    """float32 (n, 48, 48) with mean 0 and standard deviation 1 in each picture; brightness and contrast are gone."""
    out = pictures.astype(np.float32)
    out -= out.mean(axis=(1, 2), keepdims=True)
    out /= np.maximum(out.std(axis=(1, 2), keepdims=True), 1e-3)
    return out
