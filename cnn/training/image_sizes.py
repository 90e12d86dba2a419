"""Progressive resizing: the first epochs train on smaller images, which cost less (Howard 2018, in DAWNBench)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn.backends import Ops
from cnn.training.pack import Split
from foundation.errors import UserError


def check_sizes(sizes: Sequence[Sequence[int]], epochs: int) -> None:
    """Raise `UserError` for a value of `trainer.sizes` that makes no sense with this number of epochs."""
    for pair in sizes:
        if len(pair) != 2 or min(pair) < 1:
            raise UserError(
                f"trainer.sizes is a list of pairs, pixels and epochs, such as [[24,10],[36,6]]; it has {list(pair)}"
            )
    sides = [pair[0] for pair in sizes]
    if sides != sorted(set(sides)):
        raise UserError(f"trainer.sizes must grow, from the smallest images to the largest, not {sides}")
    if sizes and (small := sum(pair[1] for pair in sizes)) >= epochs:
        raise UserError(
            f"trainer.sizes has {small} epochs of smaller images, and trainer.epochs is {epochs}: at least one must be "
            "left for images of full size"
        )


def smaller_sizes(sizes: Sequence[Sequence[int]], full: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths of the smaller images: in `sizes` is the shorter side, the other is in proportion.

    Raises `UserError` for one that is not smaller than the images, which have `full` pixels.
    """
    found = []
    for side, _ in sizes:
        if side >= min(full):
            raise UserError(f"trainer.sizes has images of {side} pixels, but full size is {full[0]} x {full[1]}")
        height, width = (round(side * each / min(full)) for each in full)
        found.append((height, width))
    return found


def size_of_epoch(sizes: Sequence[Sequence[int]], epoch: int, full: tuple[int, int]) -> tuple[int, int]:
    """The height and width of images in epoch `epoch`, counted from 1."""
    for (_, epochs), hw in zip(sizes, smaller_sizes(sizes, full), strict=True):
        if epoch <= epochs:
            return hw
        epoch -= epochs
    return full


def resized_split(split: Split, hw: tuple[int, int], ops: Ops) -> Split:
    """The split with its images resized to `hw` pixels by bilinear weights as wide as an output pixel: no aliasing."""
    images: NDArray[Any] = ops.to_numpy(split.images)
    if images.shape[1:3] == hw:
        return split
    smaller = np.empty((len(images), *hw, images.shape[3]), images.dtype)
    for image, place in zip(images, smaller, strict=True):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(image[:, :, channel]))
            place[:, :, channel] = plane.resize((hw[1], hw[0]), Image.Resampling.BILINEAR)
    return replace(split, images=ops.array(smaller))
