"""The option `precision`: the types of numbers in training and inference.

| precision | activations, their gradients, weights in products | products |
| --- | --- | --- |
| `float32` | float32 | float32 |
| `tf32` | float32 | on tensor cores: operands rounded to TF32 (8 bits of exponent, 11 of precision) |
| `bfloat16` | bfloat16 (8 bits of exponent, 8 of precision) | on tensor cores, bfloat16 operands |

In each of them sums, statistics, logits, the loss, gradients of parameters, and the parameters that an optimizer
updates are float32.
"""

from __future__ import annotations

from cnn.backends import Ops
from cnn.backends.reference.arrays import TENSOR_CORES
from foundation.errors import UserError

PRECISIONS = ("float32", "bfloat16", "tf32", "auto")


def check_precision(precision: str, option: str) -> None:
    """Raise `UserError` that names `option` unless it is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise UserError(f"{option} is {precision!r}; choose one of: {', '.join(PRECISIONS)}")


def resolve_precision(precision: str, ops: Ops, option: str) -> str:
    """The precision of training on `ops`: "auto" is bfloat16 on a GPU with tensor cores for it, else float32.

    Raises `UserError` that names `option` for an unknown precision, and for tf32 without such a GPU.
    """
    check_precision(precision, option)
    capable = ops.capability >= TENSOR_CORES
    if precision == "auto":
        return "bfloat16" if capable else "float32"
    if precision == "tf32" and not capable:
        raise UserError(
            f"{option}=tf32 needs a GPU of compute capability 8.0 or more, but backend {ops.name} computes: "
            "choose float32 or auto"
        )
    return precision


def storage_of(precision: str) -> str:
    """The storage type of a model with this precision, for `build_model`."""
    return "bfloat16" if precision == "bfloat16" else "float32"


def ops_of_precision(precision: str, ops: Ops) -> Ops:
    """The backend for a model with this precision: `ops`, or for tf32 its `with_tf32`.

    Where there is no TF32, a network that was trained with it is run in float32.
    """
    return ops.with_tf32() if precision == "tf32" and ops.capability >= TENSOR_CORES else ops


def slowness(precision: str, ops: Ops) -> str | None:
    """One line for a precision that makes training slower on `ops` than float32 would be, else None."""
    if precision != "bfloat16" or ops.capability >= TENSOR_CORES:
        return None
    if ops.capability:
        return "precision=bfloat16 is slow on this GPU, which has no tensor cores for it: for comparison only"
    return "precision=bfloat16 is emulated on a CPU, slower than float32: for comparison only"
