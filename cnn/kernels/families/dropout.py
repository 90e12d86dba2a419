"""Dropout, of elements and of whole examples."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import ceil_div, elements
from cnn.kernels.kernel import Grid, Values, for_each_storage

_SOURCE, _BLOCK = "dropout.cu", (256,)
_KEY = "unsigned threshold, float scale, unsigned seed_low, unsigned seed_high, unsigned stream"

# The most blocks along y, and the elements of an example for a thread, which draws its random numbers once for them.
_MOST_EXAMPLES, _PER_THREAD = 65_535, 16


def _examples(values: Values) -> Grid:
    """Blocks for the elements of an example, and a row of them for each example."""
    blocks = max(1, min(ceil_div(values["size"], _BLOCK[0] * _PER_THREAD), 1024))
    return blocks, max(1, min(values["n"], _MOST_EXAMPLES))


DROPOUT = [
    *for_each_storage(
        "dropout",
        _SOURCE,
        "dropout<T>",
        f"const T* x, T* y, const long long* clock, int count, {_KEY}",
        _BLOCK,
        elements(per_thread=8),
        lambda v: v["count"],
    ),
    *for_each_storage(
        "drop_path",
        _SOURCE,
        "drop_path<T>",
        f"const T* x, T* y, const long long* clock, int n, int size, {_KEY}",
        _BLOCK,
        _examples,
        lambda v: v["n"] * v["size"],
    ),
]
