"""The vector width of the processor, and the tile of a product that fits its registers."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from numba.core.registry import cpu_target

Zeros = tuple[int, ...]
_UNIT = 16  # bytes that all widths are multiples of


@dataclass(frozen=True)
class Tile:
    """The part of a product that stays in registers while its terms are summed: `rows` by `vectors` of `vector_bytes`.

    Besides the sums, `vectors` registers hold a line of the right matrix, and one holds an element of the left.
    """

    vector_bytes: int
    rows: int
    vectors: int

    @property
    def line_bytes(self) -> int:
        """Bytes of the tile's columns, which are the bytes of a line of packed weights."""
        return self.vectors * self.vector_bytes

    def columns(self, itemsize: int) -> int:
        """The tile's columns, of numbers of `itemsize` bytes."""
        return self.line_bytes // itemsize

    @property
    def shape(self) -> tuple[Zeros, Zeros, Zeros]:
        """The tile as an argument of compiled functions, which read it from the *lengths* of these tuples.

        So it is part of the argument's type and a compile-time constant, and Numba compiles each tile separately.
        """
        return (0,) * self.rows, (0,) * self.vectors, (0,) * (self.vector_bytes // _UNIT)


# AVX-512 has 32 registers: 24 sums; the addresses of the 12 rows fit the 15 general registers.
AVX512 = Tile(vector_bytes=64, rows=12, vectors=2)
# AVX and AVX2 have 16: 12 sums (the tile of BLIS' kernel for AVX2).
AVX2 = Tile(vector_bytes=32, rows=6, vectors=2)
# NEON has 32 registers of 16 bytes: 24 sums.
NEON = Tile(vector_bytes=16, rows=6, vectors=4)
# SSE and others: 12 sums in 16 registers, with one left for a product, because there is no fused multiply-add.
SSE = Tile(vector_bytes=16, rows=6, vectors=2)
TILES: Mapping[str, Tile] = {"avx512": AVX512, "avx2": AVX2, "neon": NEON, "sse": SSE}


def tile_for(machine: str, features: str) -> Tile:
    """The tile for an architecture as `platform.machine` names it and LLVM's `features` ("+avx,-avx512f,...")."""
    has = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if machine.lower() in ("aarch64", "arm64"):
        return NEON
    return AVX512 if "avx512f" in has else AVX2 if "avx" in has else SSE


@cache
def host_tile() -> Tile:
    """The tile for the processor that Numba compiles for: this one, unless an environment variable sets another."""
    codegen: Any = cpu_target.target_context.codegen()
    _, _, features = codegen.magic_tuple()
    return tile_for(platform.machine(), features)
