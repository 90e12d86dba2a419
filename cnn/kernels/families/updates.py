"""Parameter updates."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import ceil_div, elements
from cnn.kernels.kernel import Kernel

_SOURCE, _BLOCK = "updates.cu", (256,)


def sum_blocks(count: int) -> int:
    """The number of blocks in a sum over `count` numbers, by the count only; one block adds up their results."""
    return max(1, min(ceil_div(count, 4096), 1024))


UPDATES = [
    Kernel(
        "sgd_update",
        _SOURCE,
        "sgd_update",
        "float* param, const float* grad, float* velocity, const float* learning_rate, const float* momentum, "
        "bfloat16* copy?, int count, int nesterov, float weight_decay, int decoupled",
        _BLOCK,
        elements(),
        flops=lambda v: 8 * v["count"],
    ),
    Kernel(
        "adam_update",
        _SOURCE,
        "adam_update",
        "float* param, const float* grad, float* first, float* second, const float* learning_rate, "
        "const float* beta1, const long long* clock, bfloat16* copy?, int count, float beta2, float one_minus_beta2, "
        "float log_beta2, float eps, float weight_decay, int decoupled",
        _BLOCK,
        elements(),
        flops=lambda v: 15 * v["count"],
    ),
    Kernel(
        "blend",
        _SOURCE,
        "blend",
        "float* into, const float* values, const float* share, bfloat16* copy?, int count",
        _BLOCK,
        elements(),
        flops=lambda v: 3 * v["count"],
    ),
    Kernel(
        "sum_squares",
        _SOURCE,
        "sum_squares",
        "const float* grad, double* partials, int count",
        _BLOCK,
        lambda v: (sum_blocks(v["count"]),),
        flops=lambda v: 2 * v["count"],
    ),
    Kernel(
        "clip_to_norm",
        _SOURCE,
        "clip_to_norm",
        "float* grad, const double* partials, float* norm, float limit, int blocks, int count",
        _BLOCK,
        elements(),
        flops=lambda v: v["count"],
    ),
]
