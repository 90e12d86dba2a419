"""Normalisation of each example's groups of channels."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families import channel_rules
from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.kernel import Grid, Values, for_each_storage

_SOURCE, _BLOCK = "group_normalization.cu", (256,)

# The number of threads per group, by the suffix of the kernels' names.
_THREADS = {"warp": 32, "block": 256}


def shared_by(elements: int) -> str:
    """The threads for a group of that many elements: a warp or a block."""
    return "warp" if elements <= 1024 else "block"


def _groups(threads: int) -> Callable[[Values], Grid]:
    return lambda values: (ceil_div(values["n"] * values["groups"], _BLOCK[0] // threads),)


def _operations(each: int) -> Callable[[Values], int]:
    return lambda values: each * values["n"] * values["pixels"] * values["c"]


GROUP_NORMALIZATION = [
    kernel
    for name, threads in _THREADS.items()
    for kernel in (
        *for_each_storage(
            f"group_norm_by_{name}",
            _SOURCE,
            f"group_norm<{threads}, T>",
            "const T* x, const float* gamma, const float* beta, T* y, float* statistics, int n, int pixels, int c, "
            "int groups, float eps",
            _BLOCK,
            _groups(threads),
            _operations(10),
        ),
        *for_each_storage(
            f"group_norm_backward_input_by_{name}",
            _SOURCE,
            f"group_norm_backward_input<{threads}, T>",
            "const T* dy, const T* x, const float* gamma, const float* statistics, T* dx, int n, int pixels, int c, "
            "int groups, float eps",
            _BLOCK,
            _groups(threads),
            _operations(13),
        ),
    )
]
GROUP_NORMALIZATION += for_each_storage(
    "group_norm_backward_sums",
    _SOURCE,
    "group_norm_backward_sums<T>",
    "const T* dy, const T* x, const float* statistics, float* dgamma, float* dbeta, float* parts?, "
    "unsigned* counters?, int rows, int c, FastDivmod pixels, int groups, float eps",
    _BLOCK,
    channel_rules.sums,
    channel_rules.operations(8),
)
