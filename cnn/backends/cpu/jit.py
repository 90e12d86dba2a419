"""How the kernels of this folder are compiled: by Numba, when they are first called, and kept for later processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit, types
from numba.extending import intrinsic

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """`function` as machine code that runs without the interpreter lock.

    Of the liberties with floating point only fused multiply-add is taken: sums keep their order. Arguments are
    C-contiguous arrays, and scalars of the arrays' own type, since a Python float would widen all it meets.
    """
    return cast(Kernel, njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")(function))


def compiled_sums(function: Kernel) -> Kernel:
    """As `compiled`, for a sum in a single variable: its terms may be added in another order, so several at a time.

    The order is fixed when the function is compiled, so on one machine it computes the same bits each time.
    """
    return cast(Kernel, njit(nogil=True, cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")(function))


@intrinsic
def wide_vectors(_context: Any) -> Any:
    """Called in a compiled function: its loops use vectors as wide as the processor has.

    LLVM keeps to 256 bits on Intel's processors with AVX-512, since the first of them slowed down under wider ones;
    the products do use those, so whatever slows down has done so already. Elsewhere it changes nothing.
    """

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        # llvmlite knows no function attribute with a value; it writes out whatever is in this set.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate
