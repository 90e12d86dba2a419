"""Launch rules for passes over (rows, c) by `ChannelWalk`: tiles of channels by chunks of rows."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.kernel import Grid, Values

# Up to so many rows one block sums a tile of channels on its own: one launch instead of two. The partial sums of
# `row_chunks` chunks are themselves summed so, hence at most so many chunks.
_ROWS_OF_ONE_CHUNK = 1024


def row_chunks(rows: int, c: int) -> int:
    """Into how many chunks a sum over rows (rows, c) is cut; the shape alone decides, so that sums repeat."""
    if rows <= _ROWS_OF_ONE_CHUNK:
        return 1
    return pass_chunks(rows, c, per_block=8192, most_blocks=_ROWS_OF_ONE_CHUNK)


def tiles(c: int, most_channels: int = 128) -> int:
    """Into how many tiles the channels are cut: wide enough for a row of a tile to be read at full speed."""
    return ceil_div(c, most_channels)


def pass_chunks(rows: int, c: int, per_block: int, most_blocks: int) -> int:
    """Into how many chunks rows are cut for blocks of about `per_block` elements, `most_blocks` in all."""
    return max(1, min(ceil_div(rows * c, per_block * tiles(c)), most_blocks // tiles(c)))


def sums(values: Values) -> Grid:
    """A block for every tile and chunk; where there is one chunk, narrow tiles make up for it."""
    rows, c = values["rows"], values["c"]
    chunks = row_chunks(rows, c)
    return (tiles(c) if chunks > 1 else tiles(c, 8), chunks)


def each(values: Values) -> Grid:
    """Blocks for a pass that treats every element on its own."""
    rows, c = values["rows"], values["c"]
    return (tiles(c), pass_chunks(rows, c, per_block=2048, most_blocks=4096))


def operations(number: int) -> Callable[[Values], int]:
    """So many operations for each element."""
    return lambda values: number * values["rows"] * values["c"]
