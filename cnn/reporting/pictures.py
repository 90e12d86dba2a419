"""Images inside a page: PNG as `data:` addresses, and the veils that show where a network looked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foundation.inlined import png_uri

VEIL = (213, 94, 0)  # orange of Okabe and Ito
_OPACITY = 0.72  # at the strongest place
_LARGEST = 256  # pixels of a side; larger images are shown smaller
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def image_uri(image: NDArray[np.uint8]) -> str:
    """An image (h, w, c) uint8 as a PNG; of other than three channels the first is shown."""
    picture = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    picture.thumbnail((_LARGEST, _LARGEST))
    return png_uri(picture)


def veil_uri(strength: NDArray[np.floating]) -> str:
    """A map (p, q) from 0 to 1 as a PNG in orange, the more opaque the stronger: it lies over the image, stretched."""
    pixels = np.empty((*strength.shape, 4), np.uint8)
    pixels[..., :3] = VEIL
    pixels[..., 3] = np.rint(255 * _OPACITY * np.clip(strength, 0, 1))
    return png_uri(Image.fromarray(pixels))


def strongest_place(strength: NDArray[np.floating]) -> str:
    """In words where a map (p, q) from 0 to 1 is strongest, by thirds of its height and width."""
    if not strength.any():
        return "no place speaks for it"
    rows, columns = (np.arange(side) * 3 // max(side, 3) if side >= 3 else _few(side) for side in strength.shape)
    sums = np.array(
        [[strength[rows == row][:, columns == column].sum() for column in range(3)] for row in range(3)], np.float64
    )
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    part = f"{sums.max() / sums.sum():.0%}"
    where = "centre" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"
    return f"most of it in the {where} ({part} of the map)"


def _few(side: int) -> NDArray[np.int64]:
    """The thirds in which one or two places lie."""
    return np.array([1] if side == 1 else [0, 2])
