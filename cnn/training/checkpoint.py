"""Checkpoints: tensors and a JSON header in one safetensors file. No pickle is read or written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from foundation.errors import UserError
from foundation.files import atomic_path

# The names of a run's two checkpoints: the weights of the best epoch, and the state for resuming.
BEST, LAST = "model.best.safetensors", "checkpoint.last.safetensors"

_FORMAT = "cnn-from-scratch/1"


def save_checkpoint(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and `metadata` (types of JSON); the file is complete or unchanged."""
    header = {"format": _FORMAT, "about": json.dumps(metadata, allow_nan=False)}
    with atomic_path(path) as temporary:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, temporary, header)


def load_checkpoint(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and metadata of a checkpoint. Raises `UserError` for a missing, damaged or foreign file."""
    if not path.is_file():
        raise UserError(f"{path} is missing: is its folder a run of cnn.train that finished at least one epoch?")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error})") from error
    if header.get("format") != _FORMAT:
        raise UserError(f"{path} was not written by cnn.train (format {header.get('format')!r}, not {_FORMAT!r})")
    return tensors, json.loads(header["about"])
