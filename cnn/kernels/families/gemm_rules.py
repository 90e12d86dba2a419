"""Tiles of the matrix products in `gemm.cuh`, and the number of blocks and splits of a product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.kernel import Grid, Values

# Blocks that fill a large device about twice. A constant instead of the device's own count, so that a product is split
# and summed in the same order on every device.
_FULL_DEVICE = 264
_LONG_SPLIT = 1024  # values of k; above, the large tile's better ratio of arithmetic to loads exceeds the cost of parts
_SHORTEST_SPLIT = 128  # values of k; below, writing and adding up the parts costs more than it saves


@dataclass(frozen=True)
class Tile:
    """A tile of `gemm.cuh` by its C++ name."""

    name: str
    m: int
    n: int
    threads: int


LARGE, SMALL = Tile("LargeTile", 128, 128, 256), Tile("SmallTile", 64, 64, 128)


@dataclass(frozen=True)
class Variant:
    """A variant of the product: its tile, and whether four values are loaded at a time."""

    tile: Tile
    vector: bool

    @property
    def suffix(self) -> str:
        """The suffix of the kernel's name."""
        return f"{'large' if self.tile is LARGE else 'small'}{'_vector' if self.vector else ''}"

    @property
    def template(self) -> str:
        """The template arguments in C++."""
        return f"<{self.tile.name}, {str(self.vector).lower()}>"


# From rows, columns, k, the number of products, and whether vectors fit, to the variant and the number of splits.
Plan = Callable[[int, int, int, int, bool], tuple[Variant, int]]


def variants() -> Iterator[Variant]:
    """Every variant that is compiled."""
    yield Variant(LARGE, True)
    yield Variant(SMALL, True)
    yield Variant(SMALL, False)


def choose(rows: int, columns: int, k: int, batches: int, vector: bool) -> tuple[Variant, int]:
    """The variant for `batches` products of (rows, k) by (k, columns), and the number of splits of k.

    It depends only on the shape: the large tile if it fills a device, possibly with k in long splits; else the small
    tile with enough splits to fill one.
    """
    large = _tiles(LARGE, rows, columns) * batches
    if vector and large * max(1, k // _LONG_SPLIT) >= _FULL_DEVICE:
        # Rounded down, because with one split more a few blocks would run after all others.
        return Variant(LARGE, vector), max(1, _FULL_DEVICE // large)
    missing = ceil_div(_FULL_DEVICE, _tiles(SMALL, rows, columns) * batches)
    return Variant(SMALL, vector), max(1, min(missing, k // _SHORTEST_SPLIT))


def _tiles(tile: Tile, rows: int, columns: int) -> int:
    return ceil_div(rows, tile.m) * ceil_div(columns, tile.n)


def gemm_grid(tile: Tile, shape: Callable[[Values], tuple[int, int, int]]) -> Callable[[Values], Grid]:
    """The grid for products; `shape` gives rows, columns and the number of products (times the splits)."""

    def grid(values: Values) -> Grid:
        rows, columns, products = shape(values)
        return ceil_div(rows, tile.m), ceil_div(columns, tile.n), products * values["splits"]

    return grid
