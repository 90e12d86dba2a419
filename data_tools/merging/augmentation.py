"""The warp of augmented copies: a random rotation, shift, zoom and mirroring. Pixels from outside repeat the edge."""

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
    """A randomly warped copy of `image`, uint8 (h, w, c): same shape and dtype, bilinear, the edge repeated outwards.

    The warp is uniform within +-`rotation` degrees, +-`shift` of each side, and 1 +- `zoom` for each axis
    independently. With `flip` the copy is mirrored with probability 0.5. The same numbers are drawn whatever the
    options are, so that one option does not change the effect of the others.
    """
    height, width, channels = image.shape
    turn, down, right, tall, wide = generator.uniform(-1, 1, 5)
    mirrored = generator.random() < 0.5 and flip
    angle = np.deg2rad(rotation * turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    # Maps coordinates of the copy to those of the original, both relative to the centre.
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1 + zoom * tall, 1 + zoom * wide])
    centre = (np.array([height, width]) - 1) / 2
    offset = centre - matrix @ centre + np.array([height * shift * down, width * shift * right])
    source = image[:, ::-1] if mirrored else image
    copy = np.empty_like(image)
    for channel in range(channels):
        moved = ndimage.affine_transform(
            source[:, :, channel].astype(np.float32), matrix, offset, order=1, mode="nearest"
        )
        copy[:, :, channel] = np.clip(np.rint(moved), 0, 255)
    return copy
