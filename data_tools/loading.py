"""A folder, archive or table of images as arrays: what is at the path is found out, and no pack is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_tools.reading.labels import LabelMap
from data_tools.reading.manifest import KEPT
from data_tools.reading.read import read
from data_tools.reading.reasons import why_left_out
from data_tools.sources.detect import detect
from data_tools.sources.detected import named
from data_tools.sources.find import make_source
from foundation.errors import UserError


@dataclass(frozen=True)
class LoadedImages:
    """The images that could be read, in the order of the source."""

    images: NDArray[np.uint8]  # (n, size, size, channels)
    labels: NDArray[np.str_]  # (n,) names of classes
    splits: NDArray[np.str_]  # (n,) train, validation, test, or '' where the data names none
    pixels: NDArray[np.str_]  # (n,) equal for images with equal pixels before they were resized
    left_out: str  # how many images are left out, and why; '' if none is
    lines: tuple[str, ...]  # what was found at the path


def load_images(
    path: str | Path,
    image_size: int | None = None,
    channels: int | None = None,
    classes: Sequence[str] | None = None,
    workers: int | None = None,
) -> LoadedImages:
    """Read every image at `path`; what is None is found out there, see `data_tools.sources.detect`.

    Raises `UserError` if there are no labels or no usable image.
    """
    place = named(Path(path).expanduser())
    found = detect(place, classes)
    names = list(classes or found.classes)
    if not names:
        raise UserError(f"{path} names no classes: put the images of each class into a folder of its own")
    size, depth = image_size or found.image_size, channels or found.channels
    if size < 1 or depth not in (1, 3):
        raise UserError(f"image_size must be positive and channels 1 or 3, got {size} and {depth}")
    labels = LabelMap(names)
    source = make_source(place.name, str(place.parent), found.config, labels.names)
    collection = read([source], {source.name: labels}, size, depth, lambda: None, workers)
    rows = [row for row in collection.rows if row.status == KEPT]
    left_out = why_left_out(collection.rows)
    if not rows:
        raise UserError(f"{path}: no image could be used: {left_out}")
    return LoadedImages(
        np.stack([collection.images[row.id] for row in rows]),
        np.array([row.label for row in rows]),
        np.array([row.original_split for row in rows]),
        np.array([row.pixels_sha256 for row in rows]),
        left_out,
        found.lines,
    )
