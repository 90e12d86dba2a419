"""Checkpoints: tensors and a JSON header in one safetensors file, with a checksum. No pickle is read or written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from cnn.training.tensor_file import write_tensors
from foundation.errors import UserError
from foundation.files import atomic_path

# The names of a run's two checkpoints: the weights of the best epoch, and the state for resuming.
BEST, LAST = "model.best.safetensors", "checkpoint.last.safetensors"

_FORMAT = "cnn-from-scratch/1"
# What code raises that meets other types, or other sizes, than it was written for in the metadata of a checkpoint.
_UNUSABLE = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, MemoryError),
    ArithmeticError,
)

Tensors = dict[str, NDArray[Any]]


def save_checkpoint(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and `metadata` (types of JSON); the file is complete or unchanged. Equal content, equal bytes."""
    about = json.dumps(metadata, allow_nan=False)
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        write_tensors(temporary, arrays, {"format": _FORMAT, "about": about, "sha256": _checksum(arrays, about)})


def load_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and metadata of a checkpoint.

    Raises `UserError` for a missing, damaged or foreign file, one whose content does not have its checksum, and for
    numbers that are NaN or infinite. A file of an earlier version has no checksum.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: is its folder a run of cnn.train that finished at least one epoch?")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT:
                raise UserError(
                    f"{path} was not written by cnn.train (format {header.get('format')!r}, not {_FORMAT!r})"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except UserError:
        raise
    except PermissionError:
        raise
    except Exception as error:  # of a type that NumPy lacks the library raises what it finds
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} is not a whole safetensors file ({reason})") from error
    try:
        metadata = json.loads(header["about"])
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} has no description of its network ({type(error).__name__})") from error
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: the description of its network is no mapping")
    if "sha256" in header and header["sha256"] != _checksum(tensors, header["about"]):
        raise UserError(f"{path} is damaged: its content does not have its checksum; take another copy of the file")
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds NaN or infinity: the network is unusable, train it again")
    return tensors, metadata


@contextmanager
def described(path: Path) -> Iterator[None]:
    """What is made of the metadata of a checkpoint in this block: raises `UserError` where they do not fit."""
    try:
        yield
    except UserError:
        raise
    except _UNUSABLE as error:
        raise UserError(f"{path} does not describe its network whole ({error!r})") from error


def file_digest(path: Path) -> str:
    """SHA-256 of the file in hexadecimal, by which a run records whose weights it has used."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checksum(tensors: Mapping[str, NDArray[Any]], about: str) -> str:
    """SHA-256 in hexadecimal of the names, types, shapes and values of tensors, and of the metadata."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name}\n{array.dtype.name}{array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
