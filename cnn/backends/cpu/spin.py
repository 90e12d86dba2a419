"""Waiting for another thread in a loop, because waking a sleeping core takes longer than a small layer."""

from __future__ import annotations

import platform
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


@intrinsic
def _pause(_context: Any) -> Any:
    """Tell the core that this thread waits: another thread on the same core then gets more of its units."""

    def generate(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        elif machine in ("aarch64", "arm64"):
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            builder.call(builder.module.declare_intrinsic("llvm.aarch64.hint", (), kind), [ir.IntType(32)(1)])
        return _context.get_dummy_value()

    return types.void(), generate


@compiled
def spin(address, value, most):
    """Wait until the int64 at `address` is `value`, for at most `most` loads; return whether it was."""
    for _ in range(most):
        if _load(address) == value:
            return True
        _pause()
    return False
