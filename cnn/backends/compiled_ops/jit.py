"""How the kernels of this folder are compiled: by Numba, when they are first called, and kept for later processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """`function` as machine code that runs without the interpreter lock.

    Of the liberties with floating point only fused multiply-add is taken: sums keep their order. Arguments are
    C-contiguous arrays, and scalars of the arrays' own type, since a Python float would widen all it meets.
    """
    return cast(Kernel, njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")(function))
