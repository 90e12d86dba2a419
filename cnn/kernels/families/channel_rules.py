"""Launch rules for passes over (rows, c) by `ChannelWalk`: tiles of channels by chunks of rows."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.kernel import Grid, Values

# Up to this number of rows one block sums a tile of channels; it is the largest number of chunks, too.
_ROWS_OF_ONE_CHUNK = 1024


def row_chunks(rows: int, c: int) -> int:
    """The number of chunks of a sum over rows (rows, c). It depends only on the shape, so that sums repeat."""
    if rows <= _ROWS_OF_ONE_CHUNK:
        return 1
    return pass_chunks(rows, c, per_block=8192, most_blocks=_ROWS_OF_ONE_CHUNK)


def tiles(c: int, most_channels: int = 128) -> int:
    """The number of tiles of channels; a tile is wide enough for its rows to be read at full speed."""
    return ceil_div(c, most_channels)


def pass_chunks(rows: int, c: int, per_block: int, most_blocks: int) -> int:
    """The number of chunks of rows for blocks of about `per_block` elements, and at most `most_blocks` blocks."""
    return max(1, min(ceil_div(rows * c, per_block * tiles(c)), most_blocks // tiles(c)))


def sums(values: Values) -> Grid:
    """One block per tile and chunk; with a single chunk, tiles are narrower, so that there are more blocks."""
    rows, c = values["rows"], values["c"]
    chunks = row_chunks(rows, c)
    return (tiles(c) if chunks > 1 else tiles(c, 4), chunks)


def each(values: Values) -> Grid:
    """Blocks for an element-wise pass."""
    rows, c = values["rows"], values["c"]
    return (tiles(c), pass_chunks(rows, c, per_block=2048, most_blocks=4096))


def operations(number: int) -> Callable[[Values], int]:
    """`number` operations per element."""
    return lambda values: number * values["rows"] * values["c"]
