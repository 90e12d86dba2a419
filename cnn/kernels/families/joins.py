"""Joins of branches."""

from __future__ import annotations

from cnn.kernels.families.channel_rules import pass_chunks, tiles
from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Grid, Values, for_each_storage

_SOURCE, _BLOCK = "joins.cu", (256,)

# The most blocks along z; with more images a block computes several.
_MOST_IMAGES = 65_535


def _gated(values: Values) -> Grid:
    """One block per tile of channels, chunk of pixels and image."""
    n, pixels, c = values["n"], values["pixels"], values["c"]
    return tiles(c), pass_chunks(pixels, c, per_block=2048, most_blocks=4096), min(n, _MOST_IMAGES)


def _gates(values: Values) -> Grid:
    """One block per tile of channels and image."""
    return tiles(values["c"]), 1, min(values["n"], _MOST_IMAGES)


def _copied(values: Values) -> Grid:
    return elements()({"count": values["rows"] * values["channels"]})


def _elements(values: Values) -> int:
    return values["n"] * values["pixels"] * values["c"]


JOINS = [
    *for_each_storage(
        "add",
        _SOURCE,
        "add<T>",
        "const T* a, const T* b, T* y, int count",
        _BLOCK,
        elements(),
        lambda v: v["count"],
    ),
    *for_each_storage(
        "multiply",
        _SOURCE,
        "multiply<T>",
        "const T* a, const T* b, T* y, int count",
        _BLOCK,
        elements(),
        lambda v: v["count"],
    ),
    *for_each_storage(
        "multiply_gate",
        _SOURCE,
        "multiply_gate<T>",
        "const T* x, const T* gate, T* y, int n, int pixels, int c",
        _BLOCK,
        _gated,
        _elements,
    ),
    *for_each_storage(
        "gate_backward",
        _SOURCE,
        "gate_backward<T>",
        "const T* dy, const T* x, T* dgate, int n, int pixels, int c",
        _BLOCK,
        _gates,
        lambda v: 2 * _elements(v),
    ),
    *for_each_storage(
        "copy_channels",
        _SOURCE,
        "copy_channels<T>",
        "const T* x, T* y, int rows, int channels, int x_pitch, int x_first, int y_pitch, int y_first",
        _BLOCK,
        _copied,
    ),
]
