"""Writes a plain safetensors file, in which weights may be float16 or bfloat16."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.exporting.network import to_bfloat16

_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}


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
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))  # each begins at its own size
    for name in order:
        array = arrays[name]
        place = [at, at := at + array.nbytes]
        header[name] = {"dtype": _TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(arrays[name].tobytes())
