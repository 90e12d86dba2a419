"""Loads a pack, the arrays written by `data_tools`, to the backend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops
from foundation.errors import UserError
from foundation.files import read_json


@dataclass(frozen=True)
class Split:
    """The images of one split, on the backend."""

    name: str
    images: Array  # (n, h, w, c) uint8, from a pack; from arrays also float32, scaled
    labels: Array  # (n,) int64
    host_labels: NDArray[np.int64]  # the same labels, for counting

    def __len__(self) -> int:
        return len(self.host_labels)


@dataclass(frozen=True)
class Pack:
    """A data set ready for training."""

    name: str
    classes: tuple[str, ...]
    content_hash: str
    splits: dict[str, Split]
    class_weights: dict[str, float] | None = None  # of the loss, if the merge balances the classes by weights
    value_top: int | None = None  # the value of images of more than 8 bits that became 255; None if there are none

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of every image."""
        height, width, channels = self.splits["train"].images.shape[1:]
        return height, width, channels


def load_pack(folder: Path, ops: Ops) -> Pack:
    """Load the pack in `folder`. Raises `UserError` naming a file that is missing or does not fit the others."""
    metadata = read_json(folder / "pack.json")
    if not isinstance(metadata, dict):
        raise UserError(f"{folder / 'pack.json'} is not the description of a pack")
    for key in ("name", "classes", "split_names", "content_hash"):
        if key not in metadata:
            raise UserError(
                f"{folder / 'pack.json'} has no '{key}': write the pack again with python -m data_tools.prepare"
            )
    images, labels, splits = (_array(folder / f"{name}.npy") for name in ("images", "labels", "splits"))
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(f"{folder / 'images.npy'} holds {images.dtype} {images.shape}, not uint8 (n, h, w, c)")
    if not len(images) == len(labels) == len(splits):
        raise UserError(f"{folder}: {len(images)} images, {len(labels)} labels and {len(splits)} splits do not agree")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(metadata["classes"]):
        raise UserError(f"{folder / 'labels.npy'} names a class that pack.json does not")
    found = {}
    for number, name in enumerate(metadata["split_names"]):
        chosen = splits == number
        own = labels[chosen].astype(np.int64)
        if not len(own):
            raise UserError(f"{folder}: the {name} split holds no images")
        found[name] = Split(name, ops.array(images[chosen]), ops.array(own), own)
    classes = tuple(metadata["classes"])
    top = max(metadata.get("value_tops", {}).values(), default=None)
    return Pack(metadata["name"], classes, metadata["content_hash"], found, metadata.get("class_weights"), top)


def _array(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: write the pack again with python -m data_tools.prepare") from error
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is not a whole NumPy array ({error})") from error
