"""The weights of an ONNX file, read without the package onnx: its initializers as arrays, by name.

ONNX is a protocol-buffer format. A message is a sequence of fields, each with a number, a kind and a value; of the
whole schema only the fields that lead to a float32 initializer are needed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Numbers of fields: https://onnx.ai, onnx.proto3.
_GRAPH, _INITIALIZER = 7, 5  # of ModelProto and of GraphProto
_DIMS, _DATA_TYPE, _FLOAT_DATA, _NAME, _RAW_DATA = 1, 2, 4, 8, 9  # of TensorProto
_FLOAT = 1  # the data type float32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of values


def onnx_weights(data: bytes) -> dict[str, NDArray[np.float32]]:
    """The float32 initializers of an ONNX model, given as the bytes of its file. Raises ValueError if it is damaged."""
    found = {}
    for number, graph in _fields(data):
        if number != _GRAPH or not isinstance(graph, bytes):
            continue
        for inner, tensor in _fields(graph):
            if inner == _INITIALIZER and isinstance(tensor, bytes):
                name, values = _tensor(tensor)
                if values is not None:
                    found[name] = values
    return found


def _tensor(data: bytes) -> tuple[str, NDArray[np.float32] | None]:
    """The name and the values of a TensorProto; None for another type than float32."""
    dims: list[int] = []
    name, raw, kind = "", b"", 0
    for number, value in _fields(data):
        if number == _DIMS:
            dims += list(_varints(value)) if isinstance(value, bytes) else [value]
        elif number == _DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == _NAME and isinstance(value, bytes):
            name = value.decode("utf-8", "replace")
        elif number in (_RAW_DATA, _FLOAT_DATA) and isinstance(value, bytes):
            raw += value  # both are little-endian float32, packed
    if kind != _FLOAT:
        return name, None
    if len(raw) != 4 * math.prod(dims):
        raise ValueError(f"{name}: {len(raw)} bytes for the shape {dims}")
    return name, np.frombuffer(raw, "<f4").reshape(dims).astype(np.float32)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at + size > len(data):
            raise ValueError("the file is truncated")
        yield number, data[at : at + size]
        at += size


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("the file is truncated")
