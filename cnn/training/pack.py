"""Loads a pack, the arrays written by `data_tools`, to the backend."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops
from foundation.errors import UserError
from foundation.files import read_json
from foundation.pack_hash import verified_hash
from foundation.schema import converted


@dataclass(frozen=True)
class Split:
    """The images of one split, on the backend."""

    name: str
    images: Array  # (n, h, w, c) uint8, from a pack; from arrays also float32, scaled
    labels: Array  # (n,) int64
    host_labels: NDArray[np.int64]  # the same labels, for counting
    targets: Array | None = None  # (n, classes) float32: distributions to train with in place of the labels

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


_AGAIN = "write the pack again with python -m data_tools.prepare"


def load_pack(folder: Path, ops: Ops) -> Pack:
    """Load the pack in `folder`.

    Raises `UserError` naming a file that is missing or does not fit the others, and for a pack whose arrays are not the
    ones that were written, by their hash. A pack that is replaced meanwhile is read again.
    """
    for _ in range(_TRIES):
        before = _written(folder)
        try:
            return _load_pack(folder, ops)
        except (UserError, OSError):
            if before == _written(folder):
                raise
    raise UserError(f"{folder} is written again and again by other processes: wait for them")


_TRIES = 5


def _written(folder: Path) -> tuple[int, int] | None:
    """By which a pack that was written again is known."""
    try:
        state = (folder / "pack.json").stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns


def _load_pack(folder: Path, ops: Ops) -> Pack:
    metadata = _metadata(folder / "pack.json")
    files = [folder / f"{name}.npy" for name in ("images", "labels", "splits")]
    images, labels, splits = map(_array, files)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(f"{files[0]} holds {images.dtype} {images.shape}, not uint8 (n, h, w, c)")
    for path, array in zip(files[1:], (labels, splits), strict=True):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise UserError(f"{path} holds {array.dtype} {array.shape}, not whole numbers (n,)")
    if not len(images) == len(labels) == len(splits):
        raise UserError(f"{folder}: {len(images)} images, {len(labels)} labels and {len(splits)} splits do not agree")
    targets = None
    if (folder / "targets.npy").is_file():
        files.append(folder / "targets.npy")
        targets = _array(files[-1])
        _check_targets(files[-1], targets, (len(images), len(metadata["classes"])))
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(metadata["classes"]):
        raise UserError(f"{files[1]} names a class that pack.json does not")
    if len(splits) and not 0 <= splits.min() <= splits.max() < len(metadata["split_names"]):
        raise UserError(f"{files[2]} names a split that pack.json does not")
    if verified_hash(files, images, labels, splits, metadata["classes"], targets) != metadata["content_hash"]:
        raise UserError(
            f"{folder}: its images, labels or splits are not those that were written (their hash is not the one in "
            f"pack.json): remove the folder and {_AGAIN}"
        )
    found = {}
    for number, name in enumerate(metadata["split_names"]):
        chosen = splits == number
        own = labels[chosen].astype(np.int64)
        if not len(own):
            raise UserError(f"{folder}: the {name} split holds no images")
        soft = None if targets is None or name != "train" else ops.array(targets[chosen])
        found[name] = Split(name, _images_of(images, np.flatnonzero(chosen), ops), ops.array(own), own, soft)
    classes = tuple(metadata["classes"])
    top = max(metadata["value_tops"].values(), default=None)
    return Pack(metadata["name"], classes, metadata["content_hash"], found, metadata["class_weights"], top)


def _check_targets(path: Path, targets: NDArray[Any], shape: tuple[int, int]) -> None:
    """Raise `UserError` unless every row is a distribution over the classes."""
    if targets.dtype != np.float32 or targets.shape != shape:
        raise UserError(f"{path} holds {targets.dtype} {targets.shape}, not float32 {shape}")
    if not ((targets >= 0).all() and np.allclose(targets.sum(axis=1), 1, atol=1e-4)):
        raise UserError(f"{path} has a row that is no distribution: numbers of at least 0 whose sum is 1")


MAPPED_FROM = 2**28  # bytes; images of smaller packs are copied into memory


def _images_of(images: NDArray[np.uint8], rows: NDArray[np.int64], ops: Ops) -> Array:
    """These rows of the mapped images, on the backend.

    On the host those of a large pack stay in their file, which is read where and when a batch needs it: the pack may be
    larger than the memory, and processes on one machine share what they have read.
    """
    first, last = rows[0], rows[-1] + 1
    if last - first != len(rows):
        return ops.array(images[rows])
    if ops.name == "cupy" or images.nbytes < MAPPED_FROM:
        return ops.array(images[first:last])
    return np.asarray(images[first:last])


def _metadata(path: Path) -> dict[str, Any]:
    """What is read from `pack.json`, each of its type. Raises `UserError` naming the key that is not."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not the description of a pack")
    found: dict[str, Any] = {"class_weights": None, "value_tops": {}}
    for key, kind in _KEYS.items():
        if key not in content and key in found:
            continue
        if key not in content:
            raise UserError(f"{path} has no '{key}': {_AGAIN}")
        if content[key] is None and found.get(key, 0) is None:
            continue
        found[key] = converted(content[key], kind, f"{path}: {key}")
    for key in ("classes", "split_names"):
        if len(set(found[key])) < len(found[key]) or not found[key]:
            raise UserError(f"{path}: {key} has a name twice, or none")
    if missing := {"train", "validation", "test"} - set(found["split_names"]):
        raise UserError(f"{path}: split_names lacks {min(missing)}")
    weights = found["class_weights"]
    if weights is not None and not (
        set(weights) == set(found["classes"]) and all(math.isfinite(each) and each >= 0 for each in weights.values())
    ):
        raise UserError(f"{path}: class_weights are not a number of at least 0 for each class")
    return found


_KEYS: dict[str, Any] = {
    "name": str,
    "classes": list[str],
    "split_names": list[str],
    "content_hash": str,
    "class_weights": dict[str, float],
    "value_tops": dict[str, int],
}


def _array(path: Path) -> NDArray[Any]:
    """The array in a .npy file, mapped into memory, so that a header that claims petabytes costs none."""
    if not path.is_file():
        raise UserError(f"{path} is missing: {_AGAIN}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy warns of a header that no version since 2008 writes
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy raises any of ten kinds for a damaged header
        if isinstance(error, PermissionError):
            raise
        raise UserError(f"{path} is not a whole NumPy array ({str(error) or type(error).__name__})") from error
