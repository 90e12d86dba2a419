"""From a box around a face to an image as the training data has them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cnn.photos.mtcnn import Face

# The side of FER-2013's square crops in terms of the root of the box's area, about the same centre: fitted by
# `python -m benchmarks.faces`, see docs/benchmarks/faces.md.
CROP_SIDE = 1.085


def square_of(face: Face, margin: float = CROP_SIDE) -> tuple[int, int, int]:
    """Left, top and side in whole pixels of the square crop of a face; it may extend beyond the photograph."""
    side = max(1, round(margin * math.sqrt(max(face.right - face.left, 1) * max(face.bottom - face.top, 1))))
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    return round(x - side / 2), round(y - side / 2), side


def crop(photo: NDArray[np.uint8], square: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The pixels of a square, (side, side) or (side, side, 3); beyond the border the nearest pixels are repeated."""
    left, top, side = square
    height, width = photo.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    return photo[rows[:, None], columns]
