"""From stored pictures to network input."""

from __future__ import annotations

from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.kernel import Kernel

BATCHES = [
    Kernel(
        "gather_batch",
        "batches.cu",
        "gather_batch",
        "const unsigned char* images, const long long* indices, const float* affine, const int* erase, "
        "const float* scale, const float* offset, float* batch, int n, int h, int w, int c",
        (256,),
        lambda v: (v["n"], ceil_div(v["h"] * v["w"], 256)),
        flops=lambda v: v["n"] * v["h"] * v["w"] * (10 + 11 * v["c"]),
    ),
]
