"""Dropout."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Kernel

_SOURCE, _BLOCK = "dropout.cu", (256,)

DROPOUT = [
    Kernel(
        "dropout",
        _SOURCE,
        "dropout",
        "const float* x, float* y, unsigned char* mask, int count, unsigned threshold, float scale, "
        "unsigned seed_low, unsigned seed_high, unsigned stream, unsigned step_low, unsigned step_high",
        _BLOCK,
        elements(per_thread=8),
        flops=lambda v: v["count"],
    ),
    Kernel(
        "dropout_backward",
        _SOURCE,
        "dropout_backward",
        "const float* dy, const unsigned char* mask, float* dx, float scale, int count",
        _BLOCK,
        elements(),
        flops=lambda v: v["count"],
    ),
]
