"""LLVM's vectors for compiled functions: Numba has no vectors, and no arrays that live in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

INTEGER = ir.IntType(64)


class Vectors:
    """Builds LLVM's instructions on vectors of `size` bytes."""

    def __init__(self, builder: Any, number: Any, size: int) -> None:
        self.builder, self.number = builder, number
        self.bits = 32 if isinstance(number, ir.FloatType) else 64
        self.lanes = 8 * size // self.bits
        self.type = ir.VectorType(number, self.lanes)
        self.zero = ir.Constant(self.type, None)
        self._undefined = ir.Constant(self.type, ir.Undefined)
        # Fused where the processor can, a product and a sum where it cannot.
        self._multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.type, [self.type] * 3), f"llvm.fmuladd.v{self.lanes}f{self.bits}"
        )

    def _place(self, base: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.type.as_pointer())

    def load(self, base: Any, offset: Any) -> Any:
        return self.builder.load(self._place(base, offset), align=self.bits // 8)

    def store(self, value: Any, base: Any, offset: Any) -> None:
        self.builder.store(value, self._place(base, offset), align=self.bits // 8)

    def everywhere(self, value: Any) -> Any:
        """A vector of one number."""
        first = self.builder.insert_element(self._undefined, value, ir.Constant(ir.IntType(32), 0))
        return self.shuffle(first, self._undefined, [0] * self.lanes)

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        numbers = [ir.Constant(ir.IntType(32), lane) for lane in lanes]
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), numbers))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self._multiply_add, [a, b, c])


def constant(value: int) -> Any:
    """An integer of 64 bits."""
    return ir.Constant(INTEGER, value)


def data(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """The address of an array's element."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])
