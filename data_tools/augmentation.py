"""The warp of made copies: a random rotation, shift, zoom and mirroring, the edge repeated outwards."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def warp(
    image: np.ndarray,
    generator: np.random.Generator,
    rotation: float,
    shift: float,
    zoom: float,
    flip: bool,
) -> np.ndarray:
    """A random affine copy of a uint8 image (h, w, c), same shape and dtype, bilinear, nearest fill.

    Uniform within +-`rotation` degrees, +-`shift` of each side, 1 +- `zoom` for each axis apart; mirrored half of
    the time if `flip`. Always the same numbers are drawn, so that one option does not change what the others do.
    """
    height, width, channels = image.shape
    turn, down, right, tall, wide = generator.uniform(-1, 1, 5)
    mirrored = generator.random() < 0.5 and flip
    angle = np.deg2rad(rotation * turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    # Maps a place in the copy to the place in the original that it shows, both seen from the middle.
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1 + zoom * tall, 1 + zoom * wide])
    middle = (np.array([height, width]) - 1) / 2
    offset = middle - matrix @ middle + np.array([height * shift * down, width * shift * right])
    source = image[:, ::-1] if mirrored else image
    copy = np.empty_like(image)
    for channel in range(channels):
        moved = ndimage.affine_transform(
            source[:, :, channel].astype(np.float32), matrix, offset, order=1, mode="nearest"
        )
        copy[:, :, channel] = np.clip(np.rint(moved), 0, 255)
    return copy
