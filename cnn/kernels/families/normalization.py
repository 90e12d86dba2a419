"""Batch normalisation, and sums over all but the channels."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import ceil_div, elements
from cnn.kernels.kernel import Grid, Kernel, Values

_SOURCE, _BLOCK = "normalization.cu", (256,)

# Up to so many rows one block sums a tile of channels on its own: one launch instead of two. The partial sums of
# `row_chunks` chunks are themselves summed so, hence at most so many chunks.
_ROWS_OF_ONE_CHUNK = 1024


def row_chunks(rows: int, c: int) -> int:
    """Into how many chunks a sum over rows (rows, c) is cut; the shape alone decides, so that sums repeat."""
    if rows <= _ROWS_OF_ONE_CHUNK:
        return 1
    return _chunks(rows, c, per_block=8192, most_blocks=_ROWS_OF_ONE_CHUNK)


def _tiles(c: int, most_channels: int = 128) -> int:
    """Into how many tiles the channels are cut: wide enough for a row of a tile to be read at full speed."""
    return ceil_div(c, most_channels)


def _chunks(rows: int, c: int, per_block: int, most_blocks: int) -> int:
    tiles = _tiles(c)
    return max(1, min(ceil_div(rows * c, per_block * tiles), most_blocks // tiles))


def _sums(values: Values) -> Grid:
    """A block for every tile and chunk; where there is one chunk, narrow tiles make up for it."""
    rows, c = values["rows"], values["c"]
    chunks = row_chunks(rows, c)
    return (_tiles(c) if chunks > 1 else _tiles(c, 8), chunks)


def _each(values: Values) -> Grid:
    """Blocks for a pass that treats every element on its own."""
    rows, c = values["rows"], values["c"]
    return (_tiles(c), _chunks(rows, c, per_block=2048, most_blocks=4096))


def _operations(each: int) -> Callable[[Values], int]:
    return lambda values: each * values["rows"] * values["c"]


NORMALIZATION = [
    Kernel(
        "column_sums",
        _SOURCE,
        "column_sums",
        "const float* x, float* sums, int rows, int c",
        _BLOCK,
        _sums,
        flops=_operations(1),
    ),
    Kernel(
        "batch_norm_statistics",
        _SOURCE,
        "batch_norm_statistics",
        "const float* x, float* means, float* squares, int rows, int c",
        _BLOCK,
        _sums,
        flops=_operations(5),
    ),
    Kernel(
        "batch_norm_merge",
        _SOURCE,
        "batch_norm_merge",
        "const float* x, const float* means, const float* squares, float* mean, float* variance, int rows, int c, "
        "int chunks",
        _BLOCK,
        lambda v: (_tiles(v["c"], 8), 1),
        flops=lambda v: 10 * v["chunks"] * v["c"],
    ),
    Kernel(
        "batch_norm_inference",
        _SOURCE,
        "batch_norm_inference",
        "const float* x, const float* gamma, const float* beta, const float* mean, const float* variance, float* y, "
        "int rows, int c, float eps, int relu",
        _BLOCK,
        _each,
        flops=_operations(3),
    ),
    Kernel(
        "batch_norm_backward_sums",
        _SOURCE,
        "batch_norm_backward_sums",
        "const float* dy, const float* x, const float* y?, const float* mean, const float* variance, float* sums, "
        "int rows, int c, float eps",
        _BLOCK,
        _sums,
        flops=_operations(4),
    ),
    Kernel(
        "batch_norm_backward_input",
        _SOURCE,
        "batch_norm_backward_input",
        "const float* dy, const float* x, const float* y?, const float* gamma, const float* mean, "
        "const float* variance, const float* dgamma, const float* dbeta, float* dx, int rows, int c, float eps",
        _BLOCK,
        _each,
        flops=_operations(5),
    ),
    Kernel(
        "running_average",
        _SOURCE,
        "running_average",
        "float* running, const float* current, float momentum, float rest, int count",
        _BLOCK,
        elements(per_thread=1),
        flops=lambda v: 3 * v["count"],
    ),
]
