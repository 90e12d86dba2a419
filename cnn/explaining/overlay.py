"""Maps over images, as pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VEIL = (213, 94, 0)  # orange of Okabe and Ito, which no kind of colour blindness hides on grey
OPACITY = 0.7  # at the strongest place


def overlaid(images: NDArray[np.uint8], strengths: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The images (n, h, w, c) uint8 as (n, h, w, 3), veiled in orange by `strengths` (n, h, w) from 0 to 1.

    Images of other than three channels are shown by their first.
    """
    base = images if images.shape[3] == 3 else np.repeat(images[..., :1], 3, axis=3)
    veil = OPACITY * strengths[..., None]
    return np.rint(base * (1 - veil) + np.array(VEIL) * veil).astype(np.uint8)
