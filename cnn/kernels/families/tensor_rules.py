"""Tiles of the products by tensor cores, and which of them a product gets."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from cnn.kernels.tile_choice import BFLOAT16, TF32, Device, Product, best_splits, best_tile

BYTES = {"bfloat16": 2, "float": 4}  # of an element; floats are rounded to tf32
MOST_TAPS = 16  # each way: a window's taps are the bits of a mask
SHORTEST_SPLIT = 4  # steps of the sum
_PACE, _DRAINED_START = 2.4, 0.3
_COSTS = {"bfloat16": BFLOAT16, "float": TF32}


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
    element: str = "bfloat16"
    warpgroups: bool = False  # two of them, each with half of the rows, by wgmma
    drained: bool = False  # then: a step's products end before the next step's begin

    @property
    def suffix(self) -> str:
        """What the kernel's name ends in."""
        if self.warpgroups:
            return f"{self.m}x{self.n}x{self.k}_warpgroups{self.stages}{'d' if self.drained else ''}_bf16"
        kind = "bf16" if self.element == "bfloat16" else "tf32"
        return f"{self.m}x{self.n}x{self.k}{'' if self.fits else '_any'}_{kind}"

    @property
    def template(self) -> str:
        """The template arguments in C++."""
        if self.warpgroups:
            return f"<WarpgroupTile<{self.m}, {self.n}, {self.stages}, {str(self.drained).lower()}>, true>"
        sizes = (self.m, self.n, self.k, self.warp_m, self.warp_n, self.stages)
        return f"<TensorTile<{self.element}, {', '.join(map(str, sizes))}>, {str(self.fits).lower()}>"

    @property
    def threads(self) -> int:
        """Of a block."""
        return 256 if self.warpgroups else self.m // self.warp_m * (self.n // self.warp_n) * 32

    @property
    def stage_bytes(self) -> int:
        """Shared memory of all stages."""
        return self.stages * (self.m + self.n) * self.k * BYTES[self.element]

    @property
    def gather_bytes(self) -> int:
        """Shared memory of a product over pixels: the stages; then a rounded result, where its rows go, and sums."""
        result = self.m * self.n * 2 + self.m * 4 + self.threads * 64
        return max(self.stage_bytes, result if self.element == "bfloat16" else 0)

    @property
    def min_arch(self) -> int:
        """The least compute capability: 8.0 has mma.sync and cp.async; the largest tile wants 9.0's shared memory."""
        return 90 if self.stage_bytes > 128 << 10 or self.warpgroups else 80

    @property
    def pace(self) -> float:
        """How fast its multiplications are, beside those of mma.sync: fitted to an H100's times."""
        return _PACE if self.warpgroups else 1.0

    @property
    def start(self) -> float:
        """What of a block's start and end the multiprocessor's other blocks do not hide, beside one of mma.sync."""
        return _DRAINED_START if self.drained else 1.0

    def resident(self, device: Device) -> int:
        """Blocks that are meant to share a multiprocessor, so that one multiplies while another waits: two if they fit.

        A multiprocessor has 1 KiB of shared memory more than a block may have, and reserves that much for each block.
        """
        return max(1, min(2, (device.shared + 1024) // (self.gather_bytes + 1024)))

    @property
    def target(self) -> str:
        """The only architecture for which it compiles; empty for any from `min_arch` on."""
        return "90a" if self.warpgroups else ""

    def runs_on(self, device: Device) -> bool:
        """Whether the device has the instructions and the shared memory."""
        capable = device.capability == 90 if self.warpgroups else device.capability >= self.min_arch
        return capable and self.gather_bytes <= device.shared


def _warpgroups(m: int, n: int, stages: int, drained: bool = False) -> TensorTile:
    return TensorTile(m, n, 64, m // 2, n, stages, True, warpgroups=True, drained=drained)


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
    TensorTile(128, 128, 32, 64, 64, 3, True, "float"),
    TensorTile(128, 64, 32, 64, 64, 3, True, "float"),
    TensorTile(128, 64, 32, 64, 64, 3, False, "float"),
    TensorTile(64, 64, 32, 64, 32, 3, False, "float"),
    _warpgroups(128, 256, 4),
    _warpgroups(256, 128, 4),
    _warpgroups(128, 128, 3, True),
    _warpgroups(128, 64, 4, True),
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
    TensorTile(128, 128, 32, 64, 64, 3, True, "float"),
    TensorTile(64, 64, 32, 64, 32, 3, False, "float"),
    _warpgroups(128, 256, 4),
    _warpgroups(256, 128, 4),
    _warpgroups(128, 128, 3, True),
    _warpgroups(128, 128, 6),
    _warpgroups(128, 64, 4, True),
)


def chunk(element: str) -> int:
    """Elements that are copied at a time: channels and filters come in multiples of them."""
    return 16 // BYTES[element]


def gather_step(c: int, element: str = "bfloat16") -> int:
    """How many channels a step of a sum over c channels takes: of bfloat16 64, or 32 where that wastes less."""
    return 32 if element == "float" or 0 < c % 64 <= 32 else 64


def gather_candidates(c: int, n: int, element: str) -> tuple[TensorTile, ...]:
    """The tiles that can compute a product over c channels to n columns."""
    step = gather_step(c, element)
    return tuple(
        tile
        for tile in GATHER_TILES
        if tile.element == element and tile.k == step and (not tile.fits or (c % tile.k == 0 and n % tile.n == 0))
    )


def wgrad_candidates(c: int, n: int, element: str) -> tuple[TensorTile, ...]:
    """The tiles that can compute the filter gradient of c channels and n filters."""
    return tuple(
        tile
        for tile in WGRAD_TILES
        if tile.element == element
        and (not tile.fits or (c % (64 if tile.warpgroups else tile.m) == 0 and n % tile.n == 0))
    )


@functools.lru_cache(maxsize=4096)
def choose_gather(
    rows: int, n: int, c: int, taps: int, device: Device, may_split: bool = True, element: str = "bfloat16"
) -> tuple[TensorTile, int]:
    """The tile, and the number of parts, of a product of `rows` pixels over the taps' c channels to n columns."""
    tiles, product = gather_candidates(c, n, element), Product(rows, n, taps * c, pieces=taps)
    costs = _COSTS[element]
    splits = best_splits(product, tiles, SHORTEST_SPLIT, costs) if may_split else 1
    return best_tile(product, runs_on(tiles, device), splits, costs, device), splits


@functools.lru_cache(maxsize=4096)
def choose_wgrad(
    taps: int, c: int, n: int, pixels: int, device: Device, element: str = "bfloat16"
) -> tuple[TensorTile, int]:
    """The tile, and the number of parts, of a filter gradient that sums over `pixels`."""
    tiles, product, costs = wgrad_candidates(c, n, element), Product(taps * c, n, pixels), _COSTS[element]
    splits = best_splits(product, tiles, SHORTEST_SPLIT, costs)
    return best_tile(product, runs_on(tiles, device), splits, costs, device), splits


def runs_on(tiles: tuple[TensorTile, ...], device: Device) -> list[TensorTile]:
    """Those of the tiles that the device can run."""
    return [tile for tile in tiles if tile.runs_on(device)]
