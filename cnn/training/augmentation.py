"""Batch-time augmentation: how each picture of a batch is mirrored, turned, zoomed, moved, and what is erased of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops, RandomKey
from cnn.backends.philox import random_uniform
from cnn.training.normalization import PixelScaling
from foundation.errors import UserError

# Random streams of the training loop; layers number theirs from 1 upwards.
AUGMENTATION_STREAM, SHUFFLE_STREAM, WARP_STREAM = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


@dataclass
class AugmentSettings:
    """The config group `augment`."""

    flip: bool = False  # mirror left to right, with probability one half
    shift: float = 0.0  # largest move, as a share of the image's side; 0 for none
    rotate: float = 0.0  # largest turn either way, in degrees
    zoom: float = 0.0  # sizes from 1 - zoom to 1 + zoom
    erase: float = 0.0  # probability that a rectangle is erased
    erase_area: list[float] = field(default_factory=lambda: [0.02, 0.33])  # its share of the image, least and most

    def __post_init__(self) -> None:
        for name in ("shift", "zoom"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise UserError(f"augment.{name} must be from 0 to below 1, not {value}")
        if not 0 <= self.rotate <= 180:
            raise UserError(f"augment.rotate must be from 0 to 180 degrees, not {self.rotate}")
        if not 0 <= self.erase <= 1:
            raise UserError(f"augment.erase must be a probability from 0 to 1, not {self.erase}")
        if len(self.erase_area) != 2 or not 0 < self.erase_area[0] <= self.erase_area[1] <= 1:
            raise UserError(
                "augment.erase_area must be two shares of the image, the least above 0 and the most up to 1, not "
                f"{list(self.erase_area)}"
            )


class BatchMaker:
    """Turns indices into network input, augmented for training and plain for scoring."""

    def __init__(self, ops: Ops, scaling: PixelScaling, augment: AugmentSettings, seed: int) -> None:
        self.ops, self.augment, self.seed = ops, augment, seed
        self._scale, self._offset = ops.array(scaling.scale), ops.array(scaling.offset)

    def training(self, images: Array, indices: NDArray[np.int64], step: int) -> Array:
        """The augmented batch of training step `step`: float32 (n, h, w, c)."""
        return self._gather(images, indices, *self.draw(len(indices), images.shape[1], images.shape[2], step))

    def plain(self, images: Array, indices: NDArray[np.int64]) -> Array:
        """The batch as it is, only scaled: float32 (n, h, w, c)."""
        identity = np.tile(np.eye(2, 3, dtype=np.float32), (len(indices), 1, 1))
        return self._gather(images, indices, identity, np.zeros((len(indices), 4), np.int32))

    def draw(self, count: int, height: int, width: int, step: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Matrices (n, 2, 3) and erased rectangles (n, 4) as `Ops.gather_batch` takes them.

        They are a function of seed and step alone, and every option has numbers of its own: setting one changes
        nothing about the others.
        """
        settings = self.augment
        uniform = random_uniform(RandomKey(self.seed, AUGMENTATION_STREAM, step), 3 * count).reshape(count, 3)
        further = np.zeros((count, 7))
        if settings.rotate or settings.zoom or settings.erase:  # else the numbers would be multiplied by 0
            further = random_uniform(RandomKey(self.seed, WARP_STREAM, step), 7 * count).reshape(count, 7)
        size = np.array([height, width])
        mirrored = (uniform[:, 0] < 0.5) & settings.flip
        reach = np.round(settings.shift * size).astype(np.int64)
        shift = np.floor(uniform[:, 1:] * (2 * reach + 1)).astype(np.int64) - reach
        angle = np.deg2rad(settings.rotate * (2 * further[:, 0] - 1))
        zoom = 1 + settings.zoom * (2 * further[:, 1] - 1)
        rectangles = _rectangles(further[:, 3:], size, settings.erase_area)
        rectangles[further[:, 2] >= settings.erase] = 0
        return inverse_affine(size, mirrored, angle, zoom, shift), rectangles

    def _gather(
        self, images: Array, indices: NDArray[np.int64], affine: NDArray[np.float32], erase: NDArray[np.int32]
    ) -> Array:
        array = self.ops.array
        return self.ops.gather_batch(images, array(indices), array(affine), array(erase), self._scale, self._offset)


def inverse_affine(
    size: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    angle: NDArray[np.float64],
    zoom: NDArray[np.float64],
    shift: NDArray[np.int64],
) -> NDArray[np.float32]:
    """The matrices (n, 2, 3) that take each output pixel back to its place in the input.

    A picture of `size` (2,) is mirrored left to right, turned anticlockwise by `angle` (n,) in radians and enlarged
    `zoom` (n,) times about its centre, then moved by `shift` (n, 2) pixels (down, right). Where it is only mirrored
    and moved, the numbers are whole.
    """
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    sense = np.where(mirrored, -1.0, 1.0)
    # Undone from the last to the first. Rows count downwards: turning back takes (r, c) to
    # (r cos + c sin, c cos - r sin).
    linear = np.stack([cosine, sine, -sense * sine, sense * cosine], axis=1).reshape(-1, 2, 2)
    centre = (size - 1) / 2
    start = centre - np.einsum("nij,nj->ni", linear, centre + shift)
    return np.concatenate([linear, start[:, :, None]], axis=2).astype(np.float32)


def _rectangles(uniform: NDArray[np.float64], size: NDArray[np.int64], area: list[float]) -> NDArray[np.int32]:
    """Rectangles (n, 4) for random erasing (Zhong et al. 2017), from four uniform numbers each (n, 4).

    Their area is uniform within shares `area` of the picture, height over width log-uniform from 0.3 to 1 / 0.3, the
    place uniform among those inside the picture. A side that would be longer than the picture's is cut to it.
    """
    pixels = (area[0] + (area[1] - area[0]) * uniform[:, 0]) * size.prod()
    aspect = 0.3 ** (1 - 2 * uniform[:, 1])
    sides = np.sqrt(np.stack([pixels * aspect, pixels / aspect], axis=1))
    sides = np.clip(np.round(sides), 1, size).astype(np.int64)
    corner = np.floor(uniform[:, 2:] * (size - sides + 1)).astype(np.int64)
    return np.concatenate([corner, sides], axis=1).astype(np.int32)


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which epoch `epoch` visits `count` images: a permutation that depends on nothing else."""
    key = np.array([seed & (2**64 - 1), SHUFFLE_STREAM << 32 | epoch], np.uint64)  # a list would become float64
    return np.random.Generator(np.random.Philox(key=key)).permutation(count)
