"""Waiting for another thread in a loop, because waking a sleeping core takes longer than a small layer."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cnn.backends.cpu.jit import compiled


@intrinsic
def _load(_context: Any, address: Any) -> Any:
    """The int64 at an address, loaded atomically with acquire ordering: earlier writes of its writer are visible."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, ordering="acquire", align=8)

    return types.int64(types.int64), generate


@compiled
def spin(address, value, most):
    """Wait until the int64 at `address` is `value`, for at most `most` loads; return whether it was."""
    for _ in range(most):  # noqa: SIM110 -- compiled: no generators
        if _load(address) == value:
            return True
    return False
