"""Launch rules of several families."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.kernel import Grid, Values
from cnn.kernels.tile_choice import ceil_div

__all__ = ["MOST_BLOCKS", "ceil_div", "elements"]

# Enough blocks to fill any device several times; a grid-stride loop covers the remaining elements.
MOST_BLOCKS = 8192


def elements(count: str = "count", *, block: int = 256, per_thread: int = 4) -> Callable[[Values], Grid]:
    """A one-dimensional grid for a grid-stride loop over `count` elements."""

    def grid(values: Values) -> Grid:
        return (max(1, min(ceil_div(values[count], block * per_thread), MOST_BLOCKS)),)

    return grid
