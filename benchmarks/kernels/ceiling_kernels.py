"""Launches the kernels of `ceilings.cu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).parent / "ceilings.cu"
NAMES = ("fill_floats", "copy_floats", "read_floats", "multiply_add")

_BLOCK = 256
_CHAINS, _UNROLLED = 8, 16  # as in the source


class CeilingKernels:
    """Compiled on first use. `xp` is the module `cupy`, or one with the same interface.

    Arrays are float32, contiguous, of a multiple of four elements and fewer than 2**31.
    """

    def __init__(self, xp: Any) -> None:
        module = xp.RawModule(
            code=SOURCE.read_text(encoding="utf-8"), options=("-std=c++17",), name_expressions=list(NAMES)
        )
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


def multiply_add_flops(threads: int, rounds: int) -> int:
    """The floating-point operations of `multiply_add`."""
    return 2 * _CHAINS * _UNROLLED * rounds * threads


def _blocks(count: int) -> int:
    return -(-count // _BLOCK)
