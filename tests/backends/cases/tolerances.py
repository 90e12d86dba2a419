"""One table of tolerances: the largest error allowed, as a fraction of the largest expected value of the same array."""

from __future__ import annotations

from collections.abc import Mapping

TOLERANCES: Mapping[str, Mapping[str, float]] = {
    #             copied  a few roundings   sums of products   through statistics    float32 positions
    "float64": {"exact": 0.0, "element": 1e-14, "sum": 1e-13, "statistics": 1e-11, "position": 1e-4},
    "float32": {"exact": 0.0, "element": 1e-6, "sum": 5e-6, "statistics": 2e-5, "position": 1e-4},
}

_OPERATIONS = {
    "exact": """
        array constant zeros copy_in to_numpy stored max_pool2d concat split next_batch""",
    "sum": """
        conv2d conv2d_backward_input conv2d_backward_filter bias_backward dense dense_backward_input
        dense_backward_filter max_pool2d_backward avg_pool2d avg_pool2d_backward global_avg_pool2d
        l2_penalty softmax soft_cross_entropy cross_entropy adam_update multiply_backward prelu_backward
        clip_by_global_norm""",
    "statistics": """
        moments normalize normalize_backward group_norm group_norm_backward tail tail_backward""",
    "position": "augmentation next_augmented_batch",
}
# Which of them an operation is held to; "element" where none is named.
TOLERANCE_OF = {op: kind for kind, ops in _OPERATIONS.items() for op in ops.split()}

# Gradient of float64 against central differences: norm of the difference over the norms' sum.
GRADIENT_TOLERANCE = 1e-6
