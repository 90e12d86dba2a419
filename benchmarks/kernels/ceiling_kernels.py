"""Launches the kernels of `ceilings.cu` and `tensor_ceiling.cu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cnn.kernels import FOLDER, compile_options

SOURCE = Path(__file__).parent / "ceilings.cu"
NAMES = ("fill_floats", "copy_floats", "read_floats", "multiply_add")
TENSOR_SOURCE, TENSOR_NAME = SOURCE.with_name("tensor_ceiling.cu"), "multiply_matrices"

_BLOCK = 256
_CHAINS, _UNROLLED = 8, 16  # as in the source


class CeilingKernels:
    """Compiled on first use. `xp` is the module `cupy`, or one with the same interface.

    Arrays are float32, contiguous, of a multiple of four elements and fewer than 2**31.
    """

    def __init__(self, xp: Any) -> None:
        module = _module(xp, SOURCE, NAMES)
        self._xp = xp
        self._fill, self._copy, self._read, self._multiply_add = (module.get_function(name) for name in NAMES)

    def fill(self, y: Any) -> None:
        """Fill with different bits for every element."""
        self._fill((min(_blocks(y.size), 8192),), (_BLOCK,), (y, np.int32(y.size)))

    def copy(self, x: Any, y: Any) -> None:
        """Y = x."""
        self._copy((_blocks(x.size // 4),), (_BLOCK,), (x, y, np.int32(x.size // 4)))

    def read(self, x: Any, sink: Any) -> None:
        """Read all of x; `sink` is one element, to which nothing is written."""
        self._read((min(_blocks(x.size // 4), 4096),), (_BLOCK,), (x, sink, np.int32(x.size // 4)))

    def multiply_add(self, y: Any, rounds: int) -> None:
        """Only arithmetic; one thread per element of y, a multiple of 256."""
        self._multiply_add((y.size // _BLOCK,), (_BLOCK,), (y, np.float32(0.999), np.float32(0.001), np.int32(rounds)))

    def multiply_matrices(self, y: Any, rounds: int) -> None:
        """Only products of tensor cores; one thread per element of y. For compute capability 8.0 or more."""
        function = _module(self._xp, TENSOR_SOURCE, (TENSOR_NAME,)).get_function(TENSOR_NAME)
        function((y.size // _BLOCK,), (_BLOCK,), (y, np.int32(rounds)))


def _module(xp: Any, source: Path, names: tuple[str, ...]) -> Any:
    return xp.RawModule(
        code=source.read_text(encoding="utf-8"), options=compile_options(FOLDER), name_expressions=list(names)
    )


def multiply_add_flops(threads: int, rounds: int) -> int:
    """The floating-point operations of `multiply_add`."""
    return 2 * _CHAINS * _UNROLLED * rounds * threads


def multiply_matrices_flops(threads: int, rounds: int) -> int:
    """The floating-point operations of `multiply_matrices`: a product of 16 x 16 by 16 x 8 a warp in each chain."""
    return 2 * 16 * 16 * 8 * _CHAINS * rounds * threads // 32


def _blocks(count: int) -> int:
    return -(-count // _BLOCK)
