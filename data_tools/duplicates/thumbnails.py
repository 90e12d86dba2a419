"""The form in which images are searched for near-duplicates: 48 x 48, grey."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_tools.reading.thumbnails import SIDE, thumbnail

Floats = NDArray[np.float32]


def grey(images: Sequence[np.ndarray]) -> NDArray[np.uint8]:
    """Thumbnails uint8 (n, 48, 48) of images (h, w), (h, w, 1) or (h, w, 3), uint8, of any size."""
    if not images:
        return np.zeros((0, SIDE, SIDE), np.uint8)
    return np.stack(
        [thumbnail(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image) for image in images]
    )


def is_blank(images: NDArray[np.uint8], below: float) -> NDArray[np.bool_]:
    """Whether the standard deviation of an image's grey levels is smaller than `below`; bool (n,)."""
    return images.std(axis=(1, 2)) < below


def standardised(images: NDArray[np.uint8]) -> Floats:
    """Standardised images float32 (n, 48, 48): mean 0 and standard deviation 1 in each, whatever its contrast."""
    out = images.astype(np.float32)
    out -= out.mean(axis=(1, 2), keepdims=True)
    out /= np.maximum(out.std(axis=(1, 2), keepdims=True), 1e-3)
    return out
