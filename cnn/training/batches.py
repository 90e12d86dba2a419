"""Batches: the network's input, augmented for training and unchanged for scoring; the order of an epoch."""

from __future__ import annotations

import math
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
    crop: float = 1.0  # least area of a random crop, as a fraction of the image; 1 for none
    brightness: float = 0.0  # largest shift of the network's input
    contrast: float = 0.0  # the network's input is multiplied by 1 - contrast to 1 + contrast
    mixup: float = 0.0  # alpha of mixup; 0 for none
    cutmix: float = 0.0  # alpha of CutMix; 0 for none
    mix_probability: float = 1.0  # that the images of a step are mixed

    def __post_init__(self) -> None:
        for name in ("shift", "zoom", "contrast"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise UserError(f"augment.{name} must be from 0 to below 1, not {value}")
        if not 0 <= self.rotate <= 180:
            raise UserError(f"augment.rotate must be from 0 to 180 degrees, not {self.rotate}")
        for name in ("erase", "mix_probability"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UserError(f"augment.{name} must be a probability from 0 to 1, not {value}")
        if not 0 < self.crop <= 1:
            raise UserError(f"augment.crop is a fraction of the image, above 0 and at most 1, not {self.crop}")
        for name in ("brightness", "mixup", "cutmix"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise UserError(f"augment.{name} must be at least 0, not {value}")
        if len(self.erase_area) != 2 or not 0 < self.erase_area[0] <= self.erase_area[1] <= 1:
            raise UserError(
                "augment.erase_area must be two fractions of the image, the least above 0 and the most up to 1, not "
                f"{list(self.erase_area)}"
            )

    def rules(self, seed: int) -> Augmentation:
        """The settings as the backend takes them."""
        area = (self.erase_area[0], self.erase_area[1])
        warps = self.flip, self.shift, self.rotate, self.zoom, self.erase, area
        return Augmentation(seed, *warps, self.crop, self.brightness, self.contrast)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others."""
        return bool((self.mixup or self.cutmix) and self.mix_probability)


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
        schedule: Array,
        clock: Array,
        numbers: Array,
        mixing: Array,
        count: int,
    ) -> tuple[Array, Array, Array]:
        """Begin a training step as `Ops.next_batch` does: its batch, augmented, the batch's labels, and its indices.

        `mixing`, for `Ops.mix_batch`, is a part of the step's `numbers`.
        """
        given = order, schedule, labels, clock, numbers, count
        if self._plain:
            indices, labels = self.ops.next_batch(*given)
            return self.begun(images, indices, labels, (None, None, None), mixing)
        indices, labels, moves = self.ops.next_augmented_batch(*given, images.shape[1:3], self.rules)
        return self.begun(images, indices, labels, moves, mixing)

    def begun(
        self,
        images: Array,
        indices: Array,
        labels: Array,
        moves: tuple[Array | None, Array | None, Array | None],
        mixing: Array,
    ) -> tuple[Array, Array, Array]:
        """Images, labels and indices of a batch that has begun; `moves` are those of `Ops.augmentation`."""
        return self._gathered(images, indices, *moves, mixing), labels, indices

    @property
    def is_plain(self) -> bool:
        """Whether images are not augmented one by one."""
        return self._plain

    def augmented(self, images: Array, indices: Array, clock: Array) -> Array:
        """The batch, augmented for training step `clock[0]`: (n, h, w, c), or (n, c) of vectors."""
        if self._plain:
            return self.plain(images, indices)
        return self._gathered(
            images, indices, *self.ops.augmentation(clock, len(indices), images.shape[1:3], self.rules)
        )

    def plain(self, images: Array, indices: Array) -> Array:
        """The batch without augmentation, only scaled: (n, h, w, c), or (n, c) of vectors."""
        return self._gathered(images, indices, None, None, None)

    def viewed(self, images: Array, indices: Array, view: NDArray[np.float32]) -> Array:
        """The batch of images (n, h, w, c), each as one view (2, 3) shows it: see `Ops.gather_batch`."""
        affine = self.ops.array(np.tile(view, (len(indices), 1, 1)))
        return self._gathered(images, indices, affine, None, None)

    def _gathered(
        self,
        images: Array,
        indices: Array,
        affine: Array | None,
        erase: Array | None,
        tone: Array | None,
        mixing: Array | None = None,
    ) -> Array:
        given = affine, erase, tone, self._scale, self._offset, self._storage
        batch = self.ops.gather_batch(images, indices, *given)
        if mixing is not None and self.augment.mixes:
            batch = self.ops.mix_batch(batch, mixing, self._storage)
        return batch.reshape(len(batch), -1) if self._vectors else batch


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of `count` images in epoch `epoch`: a permutation that depends only on the arguments."""
    key = np.array([seed & (2**64 - 1), SHUFFLE_STREAM << 32 | epoch], np.uint64)  # a list would become float64
    return np.random.Generator(np.random.Philox(key=key)).permutation(count)
