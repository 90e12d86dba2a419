"""Compilation of the kernels in this folder by Numba, at their first call; the result is cached on disk.

Where neither this folder nor the user's cache can be written to, it is compiled anew by each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit, types
from numba.extending import intrinsic

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """`function` as machine code that runs without the interpreter lock.

    The only relaxation of floating point is fused multiply-add: sums keep their order. Arguments are C-contiguous
    arrays, and scalars of the type of the arrays, because a Python float would widen the arithmetic to float64.
    """
    return _compiled(function, {"contract"})


def compiled_sums(function: Kernel) -> Kernel:
    """As `compiled`, for a sum in a single variable: its terms may be reordered, so that several are added at a time.

    The order is fixed when the function is compiled, so on one machine it computes the same bits each time.
    """
    return _compiled(function, {"contract", "reassoc"})


def _compiled(function: Kernel, fastmath: set[str]) -> Kernel:
    def make(cache: bool) -> Kernel:
        return cast(Kernel, njit(nogil=True, cache=cache, fastmath=fastmath, error_model="numpy")(function))

    try:
        return make(cache=True)
    except RuntimeError:  # Numba's, if there is no place for its cache
        return make(cache=False)


@intrinsic
def wide_vectors(_context: Any) -> Any:
    """Called in a compiled function: its loops then use the widest vectors of the processor.

    By default LLVM limits vectors to 256 bits on Intel processors with AVX-512, because the first of them lowered their
    clock for wider ones. The products use 512 bits anyway. On other processors this has no effect.
    """

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        # llvmlite has no function attributes with a value, but it writes every string of this set.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate
