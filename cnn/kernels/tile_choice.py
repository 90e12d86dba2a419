"""Which tile computes a product, and in how many parts its sum is cut.

The tile changes no sum, so it is chosen for the device at hand. The number of parts does, so it follows from the shape
alone, by what would be best on `REFERENCE`. Both minimise one estimate of time: tiles that the busiest multiprocessor
computes, padding included, times the cost of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Device:
    """What of a GPU decides on tiles."""

    multiprocessors: int
    capability: int  # such as 90
    shared: int  # bytes of shared memory that a block may have


REFERENCE = Device(132, 90, 227 << 10)  # an H100


class Tile(Protocol):
    """What a block computes: m x n of the result, along the sum in steps of k; `pace` and `start`: the
    rate of its multiplications, and the cost of a block's start, beside others; `resident`: how many blocks are meant
    to share a multiprocessor.
    """

    @property
    def m(self) -> int: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def k(self) -> int: ...  # noqa: D102
    @property
    def pace(self) -> float: ...  # noqa: D102
    @property
    def start(self) -> float: ...  # noqa: D102
    def resident(self, device: Device) -> int: ...  # noqa: D102


AnyTile = TypeVar("AnyTile", bound=Tile)


@dataclass(frozen=True)
class Costs:
    """What a tile costs beside its multiplications, in multiply-adds of one multiprocessor."""

    copy: float  # of an element of an operand, from global to shared memory
    start: float  # of a block: its first loads, which nothing hides, and its last stores
    part: float  # of an element of a part of the sum, written and read again, by the whole device
    launch: float  # of adding the parts, beside them: of the launch that did it when this was measured


# From the arithmetic and the bandwidth of an H100: 40 float32, 250 tf32 or 500 bfloat16 TFLOP/s, 3 TB/s to memory.
# Those of bfloat16, and `pace` and `start` of its tiles, were fitted to the times that an H100 took for each tile.
FLOAT32 = Costs(copy=16, start=1e5, part=53, launch=3e5)
BFLOAT16 = Costs(copy=24, start=16e6, part=335, launch=12e6)
TF32 = Costs(copy=16, start=5e5, part=335, launch=2e6)


_NEARLY = 1.02  # times the least estimate


@dataclass(frozen=True)
class Product:
    """`products` times a (rows, k) by (k, columns).

    The sum over k may consist of pieces, such as the taps of a window, each of which takes whole steps.
    """

    rows: int
    columns: int
    k: int
    products: int = 1
    pieces: int = 1

    def steps(self, step: int) -> int:
        """How many steps the sum takes."""
        return self.pieces * ceil_div(self.k // self.pieces, step) if self.pieces else 0

    def blocks(self, tile: Tile, splits: int) -> int:
        """How many blocks compute it."""
        return ceil_div(self.rows, tile.m) * ceil_div(self.columns, tile.n) * self.products * splits

    def length(self, step: int, splits: int) -> int:
        """What the longest part of the sum takes of k, in whole steps."""
        return ceil_div(self.steps(step), splits) * step

    def multiplied(self, tile: Tile, splits: int, device: Device) -> int:
        """Multiply-adds of the busiest multiprocessor, those of padding included."""
        tiles = ceil_div(self.blocks(tile, splits), device.multiprocessors)
        return tiles * tile.m * tile.n * self.length(tile.k, splits)

    def efficiency(self, tile: Tile, splits: int, device: Device = REFERENCE) -> float:
        """Padding x waves: the multiply-adds that count, of those that the device could do in the time."""
        useful = self.rows * self.columns * self.k * self.products
        return useful / (device.multiprocessors * self.multiplied(tile, splits, device))

    def time(self, tile: Tile, splits: int, costs: Costs, device: Device = REFERENCE) -> float:
        """An estimate, in multiply-adds of one multiprocessor."""
        # A block alone on its multiprocessor takes as long as those that are meant to share it take together.
        shared = tile.resident(device)
        tiles = shared * ceil_div(self.blocks(tile, splits), device.multiprocessors * shared)
        step = tile.m * tile.n / tile.pace + costs.copy * (tile.m + tile.n)
        time = tiles * (self.length(tile.k, splits) * step + costs.start * tile.start)
        if splits > 1:
            parts = splits * self.rows * self.columns * self.products
            time += costs.launch + parts * costs.part / device.multiprocessors
        return time


def best_tile(
    product: Product, tiles: Sequence[AnyTile], splits: int, costs: Costs, device: Device = REFERENCE
) -> AnyTile:
    """The tile that takes the least time; of equals the first."""
    return min(tiles, key=lambda tile: product.time(tile, splits, costs, device))


def part_numbers(product: Product, step: int, shortest: int) -> list[int]:
    """In how many parts the sum can be cut, each of at least `shortest` steps, in rising order."""
    steps = product.steps(step)
    # Of the numbers of parts that cut a sum alike, the smallest: so no part is empty.
    numbers = sorted({ceil_div(steps, length) for length in range(shortest, steps + 1)})
    return [number for number in numbers if ceil_div(steps, number) >= shortest] or [1]


def best_splits(product: Product, tiles: Sequence[Tile], shortest: int, costs: Costs) -> int:
    """In how many parts the sum is cut, each of at least `shortest` steps: from the shape alone.

    The fewest that are nearly as fast as the best number.
    """
    numbers = part_numbers(product, tiles[0].k, shortest)
    times = {number: min(product.time(tile, number, costs) for tile in tiles) for number in numbers}
    enough = _NEARLY * min(times.values())
    return next(number for number, time in times.items() if time <= enough)
