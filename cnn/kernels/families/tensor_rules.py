"""Tiles of the products by tensor cores, and which of them a product gets."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from cnn.kernels.tile_choice import BFLOAT16, Device, Product, best_splits, best_tile

_ELEMENT = 2  # bytes
CHUNK = 8  # elements that are copied at a time: channels and filters come in multiples
MOST_TAPS = 16  # each way: a window's taps are the bits of a mask
_SHORTEST_SPLIT = 4  # steps of the sum


@dataclass(frozen=True)
class TensorTile:
    """A block's part of the result, m x n, and its step k; a warp's part; how many steps are on their way."""

    m: int
    n: int
    k: int
    warp_m: int
    warp_n: int
    stages: int
    fits: bool  # whether every tile must be full: saves the checks

    @property
    def suffix(self) -> str:
        """What the kernel's name ends in."""
        return f"{self.m}x{self.n}x{self.k}{'' if self.fits else '_any'}"

    @property
    def template(self) -> str:
        """The template arguments in C++."""
        sizes = (self.m, self.n, self.k, self.warp_m, self.warp_n, self.stages)
        return f"<TensorTile<bfloat16, {', '.join(map(str, sizes))}>, {str(self.fits).lower()}>"

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.m // self.warp_m * (self.n // self.warp_n) * 32

    @property
    def stage_bytes(self) -> int:
        """Shared memory of all stages."""
        return self.stages * (self.m + self.n) * self.k * _ELEMENT

    @property
    def gather_bytes(self) -> int:
        """Shared memory of a product over pixels: the stages, then the rounded result and where its rows go."""
        return max(self.stage_bytes, self.m * self.n * _ELEMENT + self.m * 4)

    @property
    def min_arch(self) -> int:
        """The least compute capability: 8.0 has mma.sync and cp.async; the largest tile wants 9.0's shared memory."""
        return 90 if self.stage_bytes > 128 << 10 else 80


# Of products over pixels: the forward product and the data gradient.
GATHER_TILES = (
    TensorTile(256, 128, 64, 64, 64, 3, True),
    TensorTile(128, 128, 64, 64, 64, 3, True),
    TensorTile(128, 64, 64, 64, 64, 3, True),
    TensorTile(128, 128, 64, 64, 64, 3, False),
    TensorTile(128, 64, 64, 64, 64, 3, False),
    TensorTile(128, 32, 64, 64, 32, 3, False),
    TensorTile(64, 64, 64, 64, 32, 3, False),
    TensorTile(128, 64, 32, 64, 64, 4, False),
    TensorTile(128, 32, 32, 64, 32, 4, False),
)
# Of the filter gradient, whose rows are taps and channels.
WGRAD_TILES = (
    TensorTile(256, 128, 64, 64, 64, 3, True),
    TensorTile(128, 128, 64, 64, 64, 3, True),
    TensorTile(128, 64, 64, 64, 64, 3, True),
    TensorTile(64, 128, 64, 64, 64, 3, True),
    TensorTile(128, 128, 64, 64, 64, 3, False),
    TensorTile(64, 64, 64, 64, 32, 3, False),
    TensorTile(64, 32, 64, 32, 32, 3, False),
)


def gather_step(c: int) -> int:
    """How many channels a step of a sum over c channels takes: 32 where steps of 64 would waste half of the last."""
    return 32 if 0 < c % 64 <= 32 else 64


def gather_candidates(c: int, n: int) -> tuple[TensorTile, ...]:
    """The tiles that can compute a product over c channels to n columns."""
    step = gather_step(c)
    return tuple(
        tile for tile in GATHER_TILES if tile.k == step and (not tile.fits or (c % tile.k == 0 and n % tile.n == 0))
    )


def wgrad_candidates(c: int, n: int) -> tuple[TensorTile, ...]:
    """The tiles that can compute the filter gradient of c channels and n filters."""
    return tuple(tile for tile in WGRAD_TILES if not tile.fits or (c % tile.m == 0 and n % tile.n == 0))


@functools.lru_cache(maxsize=4096)
def choose_gather(
    rows: int, n: int, c: int, taps: int, device: Device, may_split: bool = True
) -> tuple[TensorTile, int]:
    """The tile, and the number of parts, of a product of `rows` pixels over the taps' c channels to n columns."""
    tiles, product = gather_candidates(c, n), Product(rows, n, taps * c, pieces=taps)
    splits = best_splits(product, tiles, _SHORTEST_SPLIT, BFLOAT16) if may_split else 1
    return best_tile(product, _runs_on(tiles, device), splits, BFLOAT16, device), splits


@functools.lru_cache(maxsize=4096)
def choose_wgrad(taps: int, c: int, n: int, pixels: int, device: Device) -> tuple[TensorTile, int]:
    """The tile, and the number of parts, of a filter gradient that sums over `pixels`."""
    tiles, product = wgrad_candidates(c, n), Product(taps * c, n, pixels)
    splits = best_splits(product, tiles, _SHORTEST_SPLIT, BFLOAT16)
    return best_tile(product, _runs_on(tiles, device), splits, BFLOAT16, device), splits


def _runs_on(tiles: tuple[TensorTile, ...], device: Device) -> list[TensorTile]:
    return [tile for tile in tiles if tile.min_arch <= device.capability and tile.gather_bytes <= device.shared]
