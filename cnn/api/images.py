"""A folder of images as X and y."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_tools.loading import LoadedImages, load_images
from data_tools.sources.base import SPLITS
from foundation.errors import UserError


class FolderData(NamedTuple):
    """X and y of training, and the pair of validation if the folder has such a split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.str_]
    validation: tuple[NDArray[np.uint8], NDArray[np.str_]] | None


def load_folder(
    path: str | Path,
    split: str | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Images and labels of a folder, an archive or a table, as X (n, size, size, channels) uint8 and y (n,).

    The classes are found out, and where they are not given the size (at most 64) and the channels of the images, 1 if
    they are grey, else 3. `split` is "train", "validation" or "test"; None is the training split, or all images if the
    folder has no splits. A warning counts the images that could not be read.

    Raises ValueError for a path without images or classes, and for a split that it does not have.
    """
    if split is not None and split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    loaded = load_images(path, image_size, channels, classes)
    _warn(path, loaded)
    chosen = loaded.splits == split if split else np.isin(loaded.splits, ("", "train"))
    if not chosen.any():
        there = ", ".join(sorted(set(loaded.splits.tolist()) - {""})) or "no splits"
        raise UserError(f"{path} has no {split or 'train'} split: it has {there}")
    return loaded.images[chosen], loaded.labels[chosen]


def folder_data(path: str | Path, **options: Any) -> FolderData:
    """The data of `Classifier.fit_folder`.

    Images with equal pixels are used once in training, and not at all if validation or test has them too; those under
    several labels are left out.
    """
    loaded = load_images(path, **options)
    _warn(path, loaded)
    held_out = np.isin(loaded.splits, ("validation", "test"))
    taken = set(loaded.pixels[held_out].tolist())
    labels_of: dict[str, set[str]] = {}
    for pixels, label in zip(loaded.pixels.tolist(), loaded.labels.tolist(), strict=True):
        labels_of.setdefault(pixels, set()).add(label)
    rows = []
    for index in np.flatnonzero(~held_out).tolist():
        pixels = str(loaded.pixels[index])
        if pixels not in taken and len(labels_of[pixels]) == 1:
            taken.add(pixels)
            rows.append(index)
    if not rows:
        raise UserError(f"{path} has no training image that is not in its validation or test split too")
    validation = loaded.splits == "validation"
    pair = (loaded.images[validation], loaded.labels[validation]) if validation.any() else None
    return FolderData(loaded.images[rows], loaded.labels[rows], pair)


def _warn(path: str | Path, loaded: LoadedImages) -> None:
    if loaded.left_out:
        warnings.warn(f"{path}: {loaded.left_out}", stacklevel=3)
