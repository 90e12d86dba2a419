"""Images of any type as pixels for display."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_bytes(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images as uint8 for display: uint8 unchanged, others scaled from their least to their largest value."""
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    return ((images.astype(np.float64) - low) * (255 / ((high - low) or 1))).astype(np.uint8)
