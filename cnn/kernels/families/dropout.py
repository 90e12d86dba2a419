"""Dropout."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import for_each_storage

DROPOUT = for_each_storage(
    "dropout",
    "dropout.cu",
    "dropout<T>",
    "const T* x, T* y, const long long* clock, int count, unsigned threshold, float scale, unsigned seed_low, "
    "unsigned seed_high, unsigned stream",
    (256,),
    elements(per_thread=8),
    lambda v: v["count"],
)
