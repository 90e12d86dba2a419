"""Occupancy: the number of a kernel's threads that fit a multiprocessor at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WARP = 32
# A multiprocessor's registers are in four parts; the registers of a warp are from one of them, in units of 256.
PARTS, REGISTERS, REGISTER_UNIT = 4, 64 * 1024, 256


@dataclass(frozen=True)
class Limits:
    """The resources of a multiprocessor of one compute capability. Shared memory is in bytes."""

    threads: int
    blocks: int
    shared: int
    shared_reserved: int  # by the system, of each block
    shared_unit: int


# Technical specifications per compute capability, CUDA C++ Programming Guide 13, and for the units that memory is
# given out in `cuda_occupancy.h` of the CUDA toolkit 13.
LIMITS: Mapping[int, Limits] = {
    75: Limits(1024, 16, 64 * 1024, 0, 256),
    80: Limits(2048, 32, 164 * 1024, 1024, 128),
    86: Limits(1536, 16, 100 * 1024, 1024, 128),
    89: Limits(1536, 24, 100 * 1024, 1024, 128),
    90: Limits(2048, 32, 228 * 1024, 1024, 128),
    100: Limits(2048, 32, 228 * 1024, 1024, 128),
    120: Limits(1536, 24, 100 * 1024, 1024, 128),
}


@dataclass(frozen=True)
class Occupancy:
    """The occupancy of a multiprocessor."""

    blocks: int
    threads: int
    fraction: float  # of the threads that it could hold
    limit: str  # the resource that is insufficient for another block


def occupancy(architecture: int, block_threads: int, registers: int, shared: int) -> Occupancy:
    """The occupancy by blocks of `block_threads` threads, `registers` per thread and `shared` bytes of memory."""
    limits = LIMITS[architecture]
    warps = _ceil_div(block_threads, WARP)
    warp_registers = _round_up(max(registers, 1) * WARP, REGISTER_UNIT)
    block_shared = _round_up(shared + limits.shared_reserved, limits.shared_unit)
    fits = {
        "threads": limits.threads // (warps * WARP),
        "blocks": limits.blocks,
        "registers": REGISTERS // PARTS // warp_registers * PARTS // warps,
        "shared memory": limits.shared // block_shared if block_shared else limits.blocks,
    }
    limit = min(fits, key=lambda name: fits[name])
    blocks = fits[limit]
    return Occupancy(blocks, blocks * block_threads, blocks * warps * WARP / limits.threads, limit)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _round_up(a: int, unit: int) -> int:
    return _ceil_div(a, unit) * unit
