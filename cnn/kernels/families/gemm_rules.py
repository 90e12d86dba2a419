"""Tiles of the matrix products in `gemm.cuh`, and the number of blocks and splits of a product."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cnn.kernels.kernel import Grid, Tiling, Values
from cnn.kernels.tile_choice import FLOAT32, Device, Product, best_splits, best_tile, ceil_div

PARTS = "float* parts?, unsigned* counters?"  # parameters for products whose sum is cut
SHORTEST_SPLIT = 8  # steps of k: below, writing and adding up the parts costs more than it saves


@dataclass(frozen=True)
class Tile:
    """A tile of `gemm.cuh`: m x n of the result, step of k, and what a thread computes of it."""

    m: int
    n: int
    step: int
    thread_m: int
    thread_n: int

    k = 16  # kSplitStep in gemm.cuh: a part of the sum takes multiples of it
    pace = start = 1.0

    def resident(self, device: Device) -> int:
        """Blocks that are meant to share a multiprocessor."""
        return 1

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.m // self.thread_m * (self.n // self.thread_n)


# The narrow ones are for few columns, the smaller ones for few tiles; the square one also where vectors do not fit.
TILES = (Tile(128, 128, 8, 8, 8), Tile(128, 64, 8, 8, 8), Tile(64, 64, 16, 8, 4), Tile(64, 32, 16, 8, 4))
SQUARE = TILES[2]


@dataclass(frozen=True)
class Variant:
    """A variant of the product: its tile, and whether four values are loaded at a time."""

    tile: Tile
    vector: bool

    @property
    def suffix(self) -> str:
        """What the kernel's name ends in."""
        return f"{self.tile.m}x{self.tile.n}{'_vector' if self.vector else ''}"

    @property
    def template(self) -> str:
        """The template arguments in C++."""
        tile = self.tile
        sizes = (tile.m, tile.n, tile.step, tile.thread_m, tile.thread_n)
        return f"<Tile<{', '.join(map(str, sizes))}>, {str(self.vector).lower()}>"


# From rows, columns, k, how many such products, whether vectors fit, and the device, to the variant and the number of
# splits.
Plan = Callable[[int, int, int, int, bool, Device], tuple[Variant, int]]


def variants() -> Iterator[Variant]:
    """Every variant that is compiled."""
    for tile in TILES:
        yield Variant(tile, True)
    yield Variant(SQUARE, False)


@functools.lru_cache(maxsize=4096)  # a network asks for the same few products over and over
def choose(rows: int, columns: int, k: int, batches: int, vector: bool, device: Device) -> tuple[Variant, int]:
    """The variant for `batches` products of (rows, k) by (k, columns), and how many parts k is split into.

    The number of parts follows from the shape alone.
    """
    tiles = TILES if vector else (SQUARE,)
    product = Product(rows, columns, k, batches)
    splits = best_splits(product, tiles, SHORTEST_SPLIT, FLOAT32)
    return Variant(best_tile(product, tiles, splits, FLOAT32, device), vector), splits


def gemm_grid(tiling: Tiling) -> Callable[[Values], Grid]:
    """The grid: tiles of rows, tiles of columns, products times splits."""

    def grid(values: Values) -> Grid:
        product, tile = tiling.product(values), tiling.tile
        return ceil_div(product.rows, tile.m), ceil_div(product.columns, tile.n), product.products * values["splits"]

    return grid
