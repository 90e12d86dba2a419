"""Statistics per channel, and sums over all but the channels."""

from __future__ import annotations

from cnn.kernels.families import channel_rules
from cnn.kernels.families.channel_rules import operations
from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Kernel, for_each_storage

_SOURCE, _BLOCK = "normalization.cu", (256,)

NORMALIZATION = [
    *for_each_storage(
        "column_sums",
        _SOURCE,
        "column_sums<T>",
        "const T* x, float* sums, float* parts?, unsigned* counters?, int rows, int c",
        _BLOCK,
        channel_rules.sums,
        operations(1),
    ),
    *for_each_storage(
        "moments",
        _SOURCE,
        "moments<T>",
        "const T* x, float* result, float* parts?, unsigned* counters?, int rows, int c",
        _BLOCK,
        channel_rules.sums,
        operations(6),
    ),
    Kernel(
        "running_average",
        _SOURCE,
        "running_average",
        "float* running, const float* current, float momentum, float one_minus_momentum, int count",
        _BLOCK,
        elements(per_thread=1),
        flops=lambda v: 3 * v["count"],
    ),
]
