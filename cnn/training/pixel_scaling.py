"""Scaling of pixels to network input: one scale and one offset per channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError

_CHUNK = 1 << 19  # numbers


@dataclass(frozen=True)
class PixelScaling:
    """x = scale * pixel + offset, per channel, (c,). Every checkpoint has it beside the weights.

    For uint8 images both are float32, and the backend applies them. For floating-point images both are float64, and
    `apply` scales the images before they are sent to the backend, because with a large mean float32 has too few digits.
    """

    scale: NDArray[np.floating]
    offset: NDArray[np.floating]

    @property
    def of_bytes(self) -> bool:
        """Whether it is for uint8 images."""
        return self.scale.dtype == np.float32

    @classmethod
    def recorded(cls, metadata: Mapping[str, Any], kind: type[np.floating]) -> PixelScaling:
        """That of a checkpoint's metadata, as numbers of type `kind`. Raises ValueError if it is not for its images."""
        parts = [np.array(metadata[f"pixel_{part}"], kind) for part in ("scale", "offset")]
        for part in parts:
            if part.shape != (metadata["image_shape"][-1],) and len(metadata["image_shape"]) == 3:
                raise ValueError("its pixel scaling is not of its channels")
            if not np.isfinite(part).all():
                raise ValueError("its pixel scaling is not finite")
        return cls(*parts)

    @classmethod
    def none(cls, channels: int) -> PixelScaling:
        """The identity, for images that are already scaled."""
        return cls(np.ones(channels, np.float32), np.zeros(channels, np.float32))

    @classmethod
    def fit(cls, rule: str, images: NDArray[Any]) -> PixelScaling:
        """`unit`: pixels / 255. `standardize`: zero mean and unit deviation over training images (n, h, w, c).

        Images are uint8, or of a float type and finite. A channel that is constant up to rounding stays constant.
        """
        check_pixels(rule)
        channels = images.shape[3]
        if rule == "unit":
            return cls(np.full(channels, 1 / 255, np.float32), np.zeros(channels, np.float32))
        if images.dtype != np.uint8:
            return cls._standardizing_floats(images)
        # A histogram per channel gives exact sums without a float copy of the data set.
        counts = np.zeros((channels, 256), np.int64)
        for rows in _chunks(images.reshape(-1, channels)):
            counts += np.stack([np.bincount(rows[:, c], minlength=256) for c in range(channels)])
        values = np.arange(256)
        total = counts.sum(axis=1)
        mean = counts @ values / total
        deviation = np.sqrt(counts @ values**2 / total - mean**2)
        deviation[deviation == 0] = 1.0  # a constant channel stays constant
        return cls((1 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32))

    @classmethod
    def _standardizing_floats(cls, images: NDArray[Any]) -> PixelScaling:
        rows = images.reshape(-1, images.shape[3])
        with np.errstate(over="ignore", invalid="ignore"):
            mean = rows.mean(axis=0, dtype=np.float64)
            variance = sum(np.square(some - mean).sum(axis=0) for some in _chunks(rows)) / len(rows)
        if not np.isfinite(variance).all():
            raise UserError("the images hold numbers so large that their variance is none")
        # The variance that rounding alone gives for equal numbers (Chan, Golub & LeVeque 1983, formula 2.4).
        eps = np.finfo(np.float64).eps
        constant = variance <= len(rows) * eps * variance + (len(rows) * eps * mean) ** 2
        deviation = np.where(constant, 1.0, np.sqrt(variance))
        return cls(1 / deviation, -mean / deviation)

    def apply(self, images: NDArray[np.number]) -> NDArray[np.float32]:
        """Images (n, h, w, c) of any real type, scaled: float32. The arithmetic is float64, a chunk at a time."""
        rows = images.reshape(-1, images.shape[-1])
        scaled = np.empty(rows.shape, np.float32)
        scale, offset = self.scale.astype(np.float64), self.offset.astype(np.float64)
        for some, out in zip(_chunks(rows), _chunks(scaled), strict=True):
            out[...] = some * scale + offset
        return scaled.reshape(images.shape)


def check_pixels(rule: str) -> None:
    """Raise `UserError` for an unknown rule."""
    if rule not in ("unit", "standardize"):
        raise UserError(f"trainer.pixels is '{rule}'; choose unit or standardize")


def _chunks(rows: NDArray[np.number]) -> Iterator[NDArray[np.number]]:
    """Views of rows (m, c) of some megabytes each."""
    size = max(1, _CHUNK // rows.shape[1])
    return (rows[start : start + size] for start in range(0, len(rows), size))
