"""Tails of blocks: normalisation per channel and what follows it."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families import channel_rules
from cnn.kernels.families.channel_rules import pass_chunks, tiles
from cnn.kernels.kernel import Grid, Values, for_each_storage

_SOURCE, _BLOCK = "tail.cu", (256,)
_NORM = "const float* gamma, const float* beta?, const float* moments"


def _pass(taps: int) -> Callable[[Values], Grid]:
    """Blocks for a pass over rows of `taps` pixels: about as many elements for each as hide the time of its start."""

    def grid(v: Values) -> Grid:
        return tiles(v["c"]), pass_chunks(v["rows"] * taps, v["c"], per_block=8192, most_blocks=1584)

    return grid


def _operations(number: int, taps: int) -> Callable[[Values], int]:
    """`number` operations per element of the input."""
    return lambda v: number * taps * v["rows"] * v["c"]


# By the suffix of the name: the template arguments, and the input pixels of a row.
_VARIANTS = [
    (pool + dropout, f"{str(bool(pool)).lower()}, {str(bool(dropout)).lower()}, T", 4 if pool else 1)
    for pool in ("", "_pool")
    for dropout in ("", "_dropout")
]

TAIL = [
    kernel
    for suffix, arguments, taps in _VARIANTS
    for kernel in (
        *for_each_storage(
            f"tail{suffix}",
            _SOURCE,
            f"tail<{arguments}>",
            f"const T* x, const T* other?, {_NORM}, float* running?, const long long* clock?, T* y, int rows, "
            "int c, float eps, float momentum, float one_minus_momentum, TailStages stages",
            _BLOCK,
            _pass(taps),
            _operations(3, taps),
        ),
        *for_each_storage(
            f"tail{suffix}_backward_sums",
            _SOURCE,
            f"tail_backward_sums<{arguments}>",
            f"const T* dy, const T* x, {_NORM}, const long long* clock?, float* dgamma, float* dbeta, "
            "float* parts?, unsigned* counters?, int rows, int c, float eps, TailStages stages",
            _BLOCK,
            channel_rules.sums,
            _operations(6, taps),
        ),
        *for_each_storage(
            f"tail{suffix}_backward_input",
            _SOURCE,
            f"tail_backward_input<{arguments}>",
            f"const T* dy, const T* x, {_NORM}, const float* dgamma, const float* dbeta, const long long* clock?, "
            "T* dx, int rows, int c, float eps, int batch, int input_relu, TailStages stages",
            _BLOCK,
            _pass(taps),
            _operations(7, taps),
        ),
    )
]
