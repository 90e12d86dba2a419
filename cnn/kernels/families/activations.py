"""The activations and their gradients."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families import channel_rules
from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Values, for_each_storage

_SOURCE, _BLOCK = "activations.cu", (256,)

# Name, C++ functor, and operations per element, forward and backward; exp, erf and a division count as one.
_ACTIVATIONS = [
    ("relu", "Relu", 1, 1),
    ("clip", "Clip", 2, 3),
    ("sigmoid", "Sigmoid", 4, 3),
    ("tanh", "Tanh", 1, 3),
    ("leaky_relu", "LeakyRelu", 2, 2),
    ("elu", "Elu", 3, 4),
    ("selu", "Selu", 4, 5),
    ("gelu", "Gelu", 5, 11),
    ("silu", "Silu", 4, 10),
    ("mish", "Mish", 9, 20),
    ("softplus", "Softplus", 5, 5),
    ("hard_swish", "HardSwish", 5, 4),
]


def _operations(each: int) -> Callable[[Values], int]:
    return lambda values: each * values["count"]


ACTIVATIONS = [
    kernel
    for name, functor, forward, backward in _ACTIVATIONS
    for kernel in (
        *for_each_storage(
            name,
            _SOURCE,
            f"activation<{functor}, T>",
            "const T* x, T* y, float a, float b, int count",
            _BLOCK,
            elements(),
            _operations(forward),
        ),
        *for_each_storage(
            f"{name}_backward",
            _SOURCE,
            f"activation_backward<{functor}, T>",
            "const T* dy, const T* saved, T* dx, float a, float b, int count",
            _BLOCK,
            elements(),
            _operations(backward),
        ),
    )
]
ACTIVATIONS += [
    *for_each_storage(
        "prelu",
        _SOURCE,
        "prelu<T>",
        "const T* x, const float* slope, T* y, int rows, int c",
        _BLOCK,
        channel_rules.each,
        channel_rules.operations(2),
    ),
    *for_each_storage(
        "prelu_backward",
        _SOURCE,
        "prelu_backward<T>",
        "const T* dy, const T* x, const float* slope, T* dx, float* dslope, float* parts?, unsigned* counters?, "
        "int rows, int c",
        _BLOCK,
        channel_rules.sums,
        channel_rules.operations(5),
    ),
]
