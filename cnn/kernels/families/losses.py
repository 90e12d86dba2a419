"""Softmax, cross-entropy and the L2 penalty."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import ceil_div, elements
from cnn.kernels.families.updates import sum_blocks
from cnn.kernels.kernel import Grid, Kernel, Values

_SOURCE, _BLOCK = "losses.cu", (256,)


def _rows(values: Values) -> Grid:
    """One warp per row, eight warps per block."""
    return (ceil_div(values["rows"], 8),)


def _operations(each: int) -> Callable[[Values], int]:
    return lambda values: each * values["rows"] * values["classes"]


LOSSES = [
    Kernel(
        "softmax",
        _SOURCE,
        "softmax",
        "const float* logits, float* y, int rows, int classes",
        _BLOCK,
        _rows,
        flops=_operations(7),
    ),
    Kernel(
        "soft_cross_entropy",
        _SOURCE,
        "soft_cross_entropy",
        "const float* logits, const float* targets, const float* class_weights, float* row_losses, "
        "unsigned char* outcomes, float* dlogits, float* loss, double* totals?, unsigned* counters, int rows, "
        "int classes, float smoothing",
        _BLOCK,
        _rows,
        flops=_operations(19),
    ),
    Kernel(
        "cross_entropy",
        _SOURCE,
        "cross_entropy",
        "const float* logits, const long long* labels, const float* class_weights, float* row_losses, "
        "unsigned char* outcomes, float* dlogits, float* loss, double* totals?, unsigned* counters, int rows, "
        "int classes, float smoothing, int ignoring, long long ignored",
        _BLOCK,
        _rows,
        flops=_operations(17),
    ),
    Kernel(
        "l2_penalty",
        _SOURCE,
        "l2_penalty",
        "const float* w, float* partials, float coefficient, int count",
        _BLOCK,
        lambda v: (sum_blocks(v["count"]),),
        flops=lambda v: 2 * v["count"],
    ),
    Kernel(
        "l2_penalty_backward",
        _SOURCE,
        "l2_penalty_backward",
        "const float* w, float* dw, float factor, int count",
        _BLOCK,
        elements(),
        flops=lambda v: 2 * v["count"],
    ),
]
