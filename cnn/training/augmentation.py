"""Batch-time augmentation: which picture of a batch is mirrored and how far it is moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops, RandomKey
from cnn.backends.philox import random_uniform
from cnn.training.normalization import PixelScaling
from foundation.errors import UserError

# Random streams of the training loop; layers number theirs from 1 upwards.
AUGMENTATION_STREAM, SHUFFLE_STREAM = 0xFFFFFFFF, 0xFFFFFFFE


@dataclass
class AugmentSettings:
    """The config group `augment`."""

    flip: bool = False  # mirror left to right, with probability one half
    shift: float = 0.0  # largest move, as a share of the image's side; 0 for none

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise UserError(f"augment.shift must be from 0 to below 1, not {self.shift}")


class BatchMaker:
    """Turns indices into network input, augmented for training and plain for scoring."""

    def __init__(self, ops: Ops, scaling: PixelScaling, augment: AugmentSettings, seed: int) -> None:
        self.ops, self.augment, self.seed = ops, augment, seed
        self._scale, self._offset = ops.array(scaling.scale), ops.array(scaling.offset)

    def training(self, images: Array, indices: NDArray[np.int64], step: int) -> Array:
        """The augmented batch of training step `step`: float32 (n, h, w, c)."""
        flip, shift = self.draw(len(indices), images.shape[1], images.shape[2], step)
        return self._gather(images, indices, flip, shift)

    def plain(self, images: Array, indices: NDArray[np.int64]) -> Array:
        """The batch as it is, only scaled: float32 (n, h, w, c)."""
        return self._gather(images, indices, np.zeros(len(indices), np.uint8), np.zeros((len(indices), 2), np.int32))

    def draw(self, count: int, height: int, width: int, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Flips (n,) and shifts (n, 2) in pixels (down, right), a function of seed and step alone."""
        uniform = random_uniform(RandomKey(self.seed, AUGMENTATION_STREAM, step), 3 * count).reshape(count, 3)
        flip = (uniform[:, 0] < 0.5) & self.augment.flip
        reach = np.round(self.augment.shift * np.array([height, width])).astype(np.int64)
        shift = np.floor(uniform[:, 1:] * (2 * reach + 1)).astype(np.int64) - reach
        return flip.astype(np.uint8), shift.astype(np.int32)

    def _gather(self, images: Array, indices: NDArray[np.int64], flip: Any, shift: Any) -> Array:
        array = self.ops.array
        return self.ops.gather_batch(images, array(indices), array(flip), array(shift), self._scale, self._offset)


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which epoch `epoch` visits `count` images: a permutation that depends on nothing else."""
    key = np.array([seed & (2**64 - 1), SHUFFLE_STREAM << 32 | epoch], np.uint64)  # a list would become float64
    return np.random.Generator(np.random.Philox(key=key)).permutation(count)
