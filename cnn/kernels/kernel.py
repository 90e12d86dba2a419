"""The entries of the kernel table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cnn.kernels.structs import STRUCTS
from cnn.kernels.tile_choice import Product, Tile

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "bfloat16": np.dtype(np.uint16),  # its bits: neither NumPy nor CuPy has the type
    "double": np.dtype(np.float64),
    "int": np.dtype(np.int32),
    "unsigned": np.dtype(np.uint32),
    "long long": np.dtype(np.int64),
    "unsigned char": np.dtype(np.uint8),
    **STRUCTS,
}
_ARGUMENT = re.compile(r"(?P<const>const )?(?P<type>[\w ]+?)(?P<pointer>\*)? (?P<name>\w+)(?P<optional>\?)?")
_STORAGE = re.compile(r"\bT\b")

# The storage types of activations, and the suffix of the kernel names for each. Arithmetic is in float.
STORAGES: Mapping[str, str] = {"float": "", "bfloat16": "_bf16"}
SUFFIXES: Mapping[np.dtype[Any], str] = {_DTYPES[storage]: suffix for storage, suffix in STORAGES.items()}

Values = Mapping[str, Any]  # a launch's scalar arguments by name; a struct is a mapping of its own
Grid = tuple[int, ...]


@dataclass(frozen=True)
class Argument:
    """One parameter of a kernel."""

    name: str
    dtype: np.dtype[Any]
    pointer: bool
    const: bool  # the kernel only reads what the pointer points to
    optional: bool  # None may be passed for the pointer

    @classmethod
    def parse(cls, text: str) -> Argument:
        """Parse a C declaration, such as `const float* x`; a `?` after the name marks a pointer that may be null."""
        match = _ARGUMENT.fullmatch(text.strip())
        if not match or match["type"] not in _DTYPES:
            raise ValueError(f"cannot read the kernel parameter '{text.strip()}'")
        return cls(
            match["name"], _DTYPES[match["type"]], bool(match["pointer"]), bool(match["const"]), bool(match["optional"])
        )


@dataclass(frozen=True)
class Tiling:
    """How a kernel cuts a matrix product into blocks."""

    tile: Tile
    product: Callable[[Values], Product]  # from the scalar arguments

    def blocks(self, values: Values) -> int:
        """How many blocks compute the product, or one part of its sum."""
        return self.product(values).blocks(self.tile, 1)


@dataclass(frozen=True)
class Kernel:
    """A kernel: its source, its signature and its launch.

    `parameters` is the C parameter list; `grid` computes the number of blocks from the scalar arguments, `flops`
    the floating-point operations of a launch (a fused multiply-add counts as two), for the benchmark's ceilings.
    """

    name: str  # used by the backend
    source: str  # file in this folder
    expression: str  # C++ name, with template arguments
    parameters: str
    block: tuple[int, ...]
    grid: Callable[[Values], Grid]
    flops: Callable[[Values], int] = lambda values: 0
    storage: str = "float"  # the storage type of activations, one of STORAGES
    shared_bytes: int | Callable[[Values], int] = 0  # dynamic shared memory of a block, or from the scalar arguments
    min_arch: int = 0  # the least compute capability, such as 80
    tiling: Tiling | None = None  # of a matrix product: how it is cut into blocks
    alone: bool = False  # whether it is compiled by itself, as it takes long, and not with its file's other kernels
    target: str = ""  # the only architecture that it compiles for, such as "90a"; empty for all from `min_arch` on

    def runs_on(self, architecture: int) -> bool:
        """Whether a device of this compute capability can run it."""
        return self.min_arch <= architecture and self.target in ("", f"{architecture}a")

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """The parameters, parsed."""
        return tuple(Argument.parse(part) for part in self.parameters.split(","))

    def dynamic_shared_bytes(self, values: Values) -> int:
        """The dynamic shared memory of a block in a launch with these scalar arguments."""
        return self.shared_bytes(values) if callable(self.shared_bytes) else self.shared_bytes


def for_each_storage(
    name: str,
    source: str,
    expression: str,
    parameters: str,
    block: tuple[int, ...],
    grid: Callable[[Values], Grid],
    flops: Callable[[Values], int] = lambda values: 0,
) -> list[Kernel]:
    """The kernel for each storage type, which replaces `T` in its expression and its parameters."""
    return [
        Kernel(
            name + suffix,
            source,
            _STORAGE.sub(storage, expression),
            _STORAGE.sub(storage, parameters),
            block,
            grid,
            flops,
            storage,
        )
        for storage, suffix in STORAGES.items()
    ]
