"""Batches: the network's input, augmented for training and unchanged for scoring; the order of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Augmentation, Ops
from cnn.backends.reference.batches import SHUFFLE_STREAM
from cnn.training.pixel_scaling import PixelScaling
from foundation.errors import UserError


@dataclass
class AugmentSettings:
    """The config group `augment`."""

    flip: bool = False  # mirror left to right, with probability one half
    shift: float = 0.0  # largest shift, as a fraction of the image's side; 0 for none
    rotate: float = 0.0  # largest rotation either way, in degrees
    zoom: float = 0.0  # sizes from 1 - zoom to 1 + zoom
    erase: float = 0.0  # probability that a rectangle is erased
    erase_area: list[float] = field(default_factory=lambda: [0.02, 0.33])  # least and largest fraction of the image

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
                "augment.erase_area must be two fractions of the image, the least above 0 and the most up to 1, not "
                f"{list(self.erase_area)}"
            )

    def rules(self, seed: int) -> Augmentation:
        """The settings as the backend takes them."""
        area = (self.erase_area[0], self.erase_area[1])
        return Augmentation(seed, self.flip, self.shift, self.rotate, self.zoom, self.erase, area)


class BatchMaker:
    """Maps indices of stored images to network input, augmented for training and unchanged for scoring.

    Stored images are uint8, or float32 on backends that accept it. With `vectors` they are rows of features, stored as
    images of one pixel, and the network gets them as rows. `storage` is the type of the input, that of the model.
    """

    def __init__(
        self,
        ops: Ops,
        scaling: PixelScaling,
        augment: AugmentSettings,
        seed: int,
        vectors: bool = False,
        storage: str = "float32",
    ) -> None:
        self._vectors, self._storage = vectors, storage
        self.ops, self.augment, self.rules = ops, augment, augment.rules(seed)
        self._scale, self._offset = (
            ops.array(numbers.astype(np.float32)) for numbers in (scaling.scale, scaling.offset)
        )
        self._plain = self.rules == Augmentation(seed, erase_area=self.rules.erase_area)

    def next(
        self,
        images: Array,
        labels: Array,
        order: Array,
        rates: Array,
        clock: Array,
        learning_rate: Array,
        count: int,
    ) -> tuple[Array, Array]:
        """Begin a training step as `Ops.next_batch` does: its batch, augmented, and the batch's labels."""
        given = order, rates, labels, clock, learning_rate, count
        if self._plain:
            indices, labels = self.ops.next_batch(*given)
            return self.plain(images, indices), labels
        indices, labels, moves = self.ops.next_augmented_batch(*given, images.shape[1:3], self.rules)
        return self._gathered(images, indices, *moves), labels

    def augmented(self, images: Array, indices: Array, clock: Array) -> Array:
        """The batch, augmented for training step `clock[0]`: (n, h, w, c), or (n, c) of vectors."""
        if self._plain:
            return self.plain(images, indices)
        return self._gathered(
            images, indices, *self.ops.augmentation(clock, len(indices), images.shape[1:3], self.rules)
        )

    def plain(self, images: Array, indices: Array) -> Array:
        """The batch without augmentation, only scaled: (n, h, w, c), or (n, c) of vectors."""
        return self._gathered(images, indices, None, None)

    def viewed(self, images: Array, indices: Array, view: NDArray[np.float32]) -> Array:
        """The batch of images (n, h, w, c), each as one view (2, 3) shows it: see `Ops.gather_batch`."""
        affine = self.ops.array(np.tile(view, (len(indices), 1, 1)))
        return self._gathered(images, indices, affine, None)

    def _gathered(self, images: Array, indices: Array, affine: Array | None, erase: Array | None) -> Array:
        batch = self.ops.gather_batch(images, indices, affine, erase, self._scale, self._offset, self._storage)
        return batch.reshape(len(batch), -1) if self._vectors else batch


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of `count` images in epoch `epoch`: a permutation that depends only on the arguments."""
    key = np.array([seed & (2**64 - 1), SHUFFLE_STREAM << 32 | epoch], np.uint64)  # a list would become float64
    return np.random.Generator(np.random.Philox(key=key)).permutation(count)
