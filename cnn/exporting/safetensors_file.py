"""Writes a plain safetensors file, in which weights may be float16 or bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.exporting.network import to_bfloat16
from cnn.training.tensor_file import TYPES, write_tensors

_TYPES = {**TYPES, "uint16": "BF16"}  # NumPy has no bfloat16: its bits


def write_safetensors(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    weights: str = "float32",
    small: Callable[[str], bool] = lambda _: True,
) -> None:
    """Write `tensors`; those of float32 for whose names `small` holds are stored in the type `weights`."""
    arrays = {}
    for name, tensor in tensors.items():
        array = np.ascontiguousarray(tensor).reshape(tensor.shape)  # a single number stays one
        if array.dtype == np.float32 and weights != "float32" and small(name):
            array = array.astype(np.float16) if weights == "float16" else to_bfloat16(array).reshape(tensor.shape)
        arrays[name] = array
    write_tensors(path, arrays, metadata, _TYPES)
