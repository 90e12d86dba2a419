"""Waiting for another thread without going to sleep: a sleeping core takes longer to wake than a small layer takes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cnn.backends.cpu.jit import compiled


@intrinsic
def _load(_context: Any, address: Any) -> Any:
    """The int64 at an address, read anew each time, and with it all that its writer wrote before."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, ordering="acquire", align=8)

    return types.int64(types.int64), generate


@compiled
def spin(address, value, most):
    """Wait until the int64 at `address` is `value`, for at most `most` looks at it; whether it was."""
    for _ in range(most):  # noqa: SIM110 -- compiled: no generators
        if _load(address) == value:
            return True
    return False
