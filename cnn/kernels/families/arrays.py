"""Conversion between storage types."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Kernel

ARRAYS = [
    Kernel(
        name,
        "arrays.cu",
        f"convert<{source}, {target}>",
        f"const {source}* x, {target}* y, int count",
        (256,),
        elements(),
        storage="bfloat16",
    )
    for name, source, target in (("round_to_bf16", "float", "bfloat16"), ("widen_bf16", "bfloat16", "float"))
]
