"""Element-wise kernels: add and the activations."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Kernel, Values

_SOURCE, _BLOCK = "elementwise.cu", (256,)

# Name, C++ functor, and the operations an element takes, forward and backward; exp, erf and a division count as one.
_ACTIVATIONS = [
    ("relu", "Relu", 1, 1),
    ("leaky_relu", "LeakyRelu", 2, 2),
    ("elu", "Elu", 3, 4),
    ("gelu", "Gelu", 5, 11),
    ("silu", "Silu", 4, 10),
]


def _operations(each: int) -> Callable[[Values], int]:
    return lambda values: each * values["count"]


ELEMENTWISE = [
    Kernel(
        "add",
        _SOURCE,
        "add",
        "const float* a, const float* b, float* y, int count",
        _BLOCK,
        elements(),
        flops=_operations(1),
    ),
    *(
        Kernel(
            name,
            _SOURCE,
            f"activation<{functor}>",
            "const float* x, float* y, float parameter, int count",
            _BLOCK,
            elements(),
            flops=_operations(forward),
        )
        for name, functor, forward, _ in _ACTIVATIONS
    ),
    *(
        Kernel(
            f"{name}_backward",
            _SOURCE,
            f"activation_backward<{functor}>",
            "const float* dy, const float* x, float* dx, float parameter, int count",
            _BLOCK,
            elements(),
            flops=_operations(backward),
        )
        for name, functor, _, backward in _ACTIVATIONS
    ),
]
