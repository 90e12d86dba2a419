"""Softmax, cross-entropy, penalties and counts."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import ceil_div, elements
from cnn.kernels.kernel import Grid, Kernel, Values

_SOURCE, _BLOCK = "losses.cu", (256,)


def penalty_blocks(count: int) -> int:
    """How many blocks share the sum over `count` weights; their partial sums fit one block."""
    return max(1, min(ceil_div(count, 4096), 1024))


def _rows(values: Values) -> Grid:
    """A warp for each row, eight to a block."""
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
        "softmax_cross_entropy",
        _SOURCE,
        "softmax_cross_entropy",
        "const float* logits, const float* targets, const float* weights, float* row_losses, float* dlogits, "
        "int rows, int classes",
        _BLOCK,
        _rows,
        flops=_operations(15),
    ),
    Kernel(
        "count_correct",
        _SOURCE,
        "count_correct",
        "const float* logits, const long long* labels, int* correct, int rows, int classes",
        _BLOCK,
        _rows,
        flops=_operations(1),
    ),
    Kernel(
        "soft_targets",
        _SOURCE,
        "soft_targets",
        "const long long* labels, float* targets, float rest, float extra, int classes, int count",
        _BLOCK,
        elements(per_thread=1),
    ),
    Kernel(
        "l2_penalty",
        _SOURCE,
        "l2_penalty",
        "const float* w, float* partials, float coefficient, int count",
        _BLOCK,
        lambda v: (penalty_blocks(v["count"]),),
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
