"""Parameter updates."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.kernel import Grid, Kernel, Values

_SOURCE, _BLOCK = "optimizers.cu", (256,)

# How many elements of a tensor a block updates; a multiple of 4, so that every piece begins where a float4 may.
PIECE = 4096


def _pieces(values: Values) -> Grid:
    return (sum(ceil_div(size, values["piece"]) for size in values["tensors"]["size"]),)


def _operations(each: int) -> Callable[[Values], int]:
    return lambda values: each * sum(values["tensors"]["size"])


OPTIMIZERS = [
    Kernel(
        "sgd_update",
        _SOURCE,
        "sgd_update",
        "TensorList tensors, int piece, float learning_rate, float momentum, int nesterov, int decoupled",
        _BLOCK,
        _pieces,
        flops=_operations(8),
    ),
    Kernel(
        "adam_update",
        _SOURCE,
        "adam_update",
        "TensorList tensors, int piece, float step_size, float beta1, float rest1, float beta2, float rest2, "
        "float correction2, float eps, int decoupled",
        _BLOCK,
        _pieces,
        flops=_operations(15),
    ),
]
