"""Checks the types, dtypes and shapes of arrays, and selects the backend for them."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn.backends import Array, Ops, get_ops
from foundation.errors import UserError

_CUPY = "cupy"  # the package of the arrays that go to the kernels
_ARRAYS = {"numpy": "NumPy", "cupy": "CuPy"}
_DTYPES = {"numpy": (np.dtype(np.float32), np.dtype(np.float64)), "cupy": (np.dtype(np.float32),)}


@dataclass(frozen=True)
class Given:
    """The arguments of a call: a backend, its arrays in the order of their names, and their sizes by letter."""

    ops: Ops
    arrays: list[Any]
    sizes: dict[str, int]


def read(**arguments: tuple[Any, str]) -> Given:
    """Check arrays, given by name as (array or None, shape), and select the backend.

    A shape is a text of letters, such as "n h w c"; a letter is one size in the whole call, and "..." at the beginning
    is any number of axes. None stays None. Raises TypeError and ValueError as described in `cnn.ops`.
    """
    present = {name: array for name, (array, _) in arguments.items() if array is not None}
    first, kind = next(iter(present)), kind_of(*next(iter(present.items())))
    dtype = present[first].dtype
    if dtype not in _DTYPES[kind]:
        known = " or ".join(map(str, _DTYPES[kind]))
        raise TypeError(f"{first} is {dtype}, but {_ARRAYS[kind]} arrays must be {known} here")
    sizes: dict[str, int] = {}
    found: list[Any] = []
    ops = _backend(kind)
    for name, (array, letters) in arguments.items():
        if array is None:
            found.append(None)
            continue
        if kind_of(name, array) != kind:
            raise TypeError(f"{first} is a {_ARRAYS[kind]} array, but {name} is not: all must be of one library")
        if array.dtype != dtype:
            raise TypeError(f"{name} is {array.dtype}, but {first} is {dtype}: all must be of one dtype")
        _bind(name, array.shape, letters, sizes)
        found.append(contiguous(array))
    return Given(ops, found, sizes)


def kind_of(name: str, array: Any) -> str:
    """ "numpy" or "cupy". Raises TypeError for other types."""
    if type(array).__module__.partition(".")[0] == _CUPY and hasattr(array, "dtype"):
        return "cupy"
    if isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray):
        return "numpy"
    raise TypeError(f"{name} must be a NumPy or CuPy array, not {type(array).__qualname__}")


def contiguous(array: Array) -> Array:
    """The array itself, or a copy of one that is not C-contiguous, aligned and writable."""
    if kind_of("the array", array) == "numpy":
        # Numba compiles functions again for read-only arrays, which takes longer than a copy.
        return np.require(array, None, ["C", "A", "W", "E"])
    return array if array.flags.c_contiguous else array.copy()


def _bind(name: str, shape: tuple[int, ...], letters: str, sizes: dict[str, int]) -> None:
    """Set the sizes of the letters. Raises ValueError for a shape that does not fit."""
    if 0 in shape:
        raise ValueError(f"{name} has shape {shape}: it has no elements")
    meant, wanted, own = f"({letters.replace(' ', ', ')})", letters.split(), shape
    if wanted[0] == "...":
        wanted = wanted[1:]
        own = shape[max(len(shape) - len(wanted), 0) :]
    if len(own) != len(wanted):
        raise ValueError(f"{name} has shape {shape}, but must be {meant}")
    for letter, size in zip(wanted, own, strict=True):
        needed = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
        if size != needed:
            known = "" if letter.isdigit() else f" with {letter} = {needed}"
            raise ValueError(f"{name} has shape {shape}, but must be {meant}{known}")


def _backend(kind: str) -> Ops:
    return _on_device(importlib.import_module(_CUPY).cuda.Device().id) if kind == "cupy" else _on_host()


@functools.cache
def _on_host() -> Ops:
    """The CPU engine, or the reference if Numba is missing."""
    try:
        return get_ops("cpu")
    except UserError:
        return get_ops("numpy")


@functools.cache
def _on_device(number: int) -> Ops:
    """The kernels, compiled for one device, which is the current one."""
    return get_ops("cupy")
