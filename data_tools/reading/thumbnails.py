"""The thumbnail of an image: 48 x 48 and grey, made from its original pixels, whatever the size of the pack."""

from __future__ import annotations

import numpy as np

from data_tools.reading.images import fit

SIDE = 48


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Canonical pixels (h, w) or (h, w, 3) as (48, 48) of their own type: colour converted to luma, resampled."""
    return fit(pixels, SIDE, 1)[:, :, 0]
