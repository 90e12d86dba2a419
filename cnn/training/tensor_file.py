"""Writes safetensors files, equal bytes for equal content: the library writes its header in a random order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

TYPES = {  # of tensors, by NumPy's names
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def write_tensors(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], types: Mapping[str, str] = TYPES
) -> None:
    """Write contiguous arrays of the types that `types` names, NumPy's name -> the format's, and `metadata`."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    # As the library does: large types first, so that every tensor begins at a multiple of its own size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    at = 0
    for name in order:
        array = arrays[name]
        place = [at, at := at + array.nbytes]
        header[name] = {"dtype": types[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(arrays[name].data if arrays[name].nbytes else b"")
