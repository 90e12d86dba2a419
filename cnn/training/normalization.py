"""From pixels to network input: one scale and one offset per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError


@dataclass(frozen=True)
class PixelScaling:
    """x = scale * pixel + offset, per channel, (c,) float32. It travels with the weights in every checkpoint."""

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def fit(cls, rule: str, images: NDArray[np.uint8]) -> PixelScaling:
        """`unit`: pixels / 255. `standardize`: zero mean and unit deviation over training images (n, h, w, c)."""
        channels = images.shape[3]
        if rule == "unit":
            return cls(np.full(channels, 1 / 255, np.float32), np.zeros(channels, np.float32))
        if rule != "standardize":
            raise UserError(f"trainer.pixels is '{rule}'; choose unit or standardize")
        # A histogram per channel gives exact sums without a float copy of the data set.
        counts = np.stack([np.bincount(images[..., c].reshape(-1), minlength=256) for c in range(channels)])
        values = np.arange(256)
        total = counts.sum(axis=1)
        mean = counts @ values / total
        deviation = np.sqrt(counts @ values**2 / total - mean**2)
        deviation[deviation == 0] = 1.0  # a constant channel stays constant
        return cls((1 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32))
