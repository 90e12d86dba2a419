"""Matrix products for convolutions: a few rows, or many, times a filter that is laid out once in the order it is read.

BLAS lays out anew, in every call, both matrices that it is given. A convolution's products often have no more than
some tens of rows (the tiles of an image, or of a piece of a batch), and then that takes as long as the product. Here
the filter is kept as columns side by side, `WIDTH` bytes of each row, and is read once from front to back, while a
tile of `ROWS` rows of the result stays in registers (Goto & van de Geijn, "Anatomy of high-performance matrix
multiplication", 2008, section 4; the tile is the one of BLIS' kernel for AVX2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cnn.backends.compiled_ops.jit import compiled

# A tile of 6 rows by 2 vectors of 32 bytes takes 12 of AVX2's 16 registers.
ROWS, _VECTORS, _VECTOR_BYTES = 6, 2, 32
WIDTH = _VECTORS * _VECTOR_BYTES
# Terms that are summed in registers before they join the result: a block of the filter stays in the L1 cache for all
# rows, and sums of thousands of numbers are sums of sums.
DEPTH = 256


def _tile(rows: int) -> Callable[..., None]:
    """A function that is written in LLVM's own terms: Numba has no vectors, and no arrays that live in registers.

    `tile(a, at, a_step, b, b_at, depth, out, out_at, out_step, more)`: `rows` rows of flat `a` from `at` on, `a_step`
    apart, `depth` long, times `depth` lines of `WIDTH` bytes of flat `b` from `b_at` on; into rows of flat `out`, or,
    with `more`, added to what is there.
    """

    @intrinsic
    def tile(
        _context: Any,
        a: Any,
        at: Any,
        a_step: Any,
        b: Any,
        b_at: Any,
        depth: Any,
        out: Any,
        out_at: Any,
        out_step: Any,
        more: Any,
    ) -> Any:
        signature = types.void(a, at, a_step, b, b_at, depth, out, out_at, out_step, more)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            def address(array: int, offset: Any) -> Any:
                whole = context.make_array(signature.args[array])(context, builder, given[array])
                return builder.gep(whole.data, [offset])

            number = context.get_data_type(signature.args[0].dtype)
            bits = 32 if isinstance(number, ir.FloatType) else 64
            lanes = 8 * _VECTOR_BYTES // bits
            vector, integer = ir.VectorType(number, lanes), ir.IntType(64)
            # Fused where the processor can, a product and a sum where it cannot.
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{lanes}f{bits}"
            )
            constant = lambda value: ir.Constant(integer, value)  # noqa: E731
            undefined = ir.Constant(vector, ir.Undefined)
            first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [ir.Constant(ir.IntType(32), 0)] * lanes)

            def vector_at(base: Any, offset: Any) -> Any:
                return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

            sources = [address(0, builder.add(given[1], builder.mul(given[2], constant(r)))) for r in range(rows)]
            lines, depth = address(3, given[4]), given[5]
            targets = [address(6, builder.add(given[7], builder.mul(given[8], constant(r)))) for r in range(rows)]
            before = builder.block
            loop, done = builder.append_basic_block("terms"), builder.append_basic_block("done")
            builder.branch(loop)

            builder.position_at_end(loop)
            term = builder.phi(integer)
            sums = [[builder.phi(vector) for _ in range(_VECTORS)] for _ in range(rows)]
            line = builder.mul(term, constant(lanes * _VECTORS))
            read = [
                builder.load(vector_at(lines, builder.add(line, constant(lanes * v))), align=bits // 8)
                for v in range(_VECTORS)
            ]
            added = []
            for source, row in zip(sources, sums, strict=True):
                value = builder.insert_element(
                    undefined, builder.load(builder.gep(source, [term])), ir.Constant(ir.IntType(32), 0)
                )
                value = builder.shuffle_vector(value, undefined, first_lane)
                added.append([builder.call(multiply_add, [value, read[v], row[v]]) for v in range(_VECTORS)])
            following = builder.add(term, constant(1))
            term.add_incoming(constant(0), before)
            term.add_incoming(following, loop)
            for row, results in zip(sums, added, strict=True):
                for phi, result in zip(row, results, strict=True):
                    phi.add_incoming(ir.Constant(vector, None), before)
                    phi.add_incoming(result, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

            builder.position_at_end(done)
            for target, results in zip(targets, added, strict=True):
                for v, result in enumerate(results):
                    place = vector_at(target, constant(lanes * v))
                    there = builder.select(given[9], builder.load(place, align=bits // 8), ir.Constant(vector, None))
                    builder.store(builder.fadd(result, there), place, align=bits // 8)
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile_1, _tile_2, _tile_3, _tile_4, _tile_5, _tile_6 = (_tile(rows) for rows in range(1, ROWS + 1))


@compiled
def pack(matrices, blocks):
    """matrices (e, k, n) to blocks (e, columns of WIDTH bytes, k, numbers in WIDTH), zeros beyond n."""
    width, n = blocks.shape[3], matrices.shape[2]
    for e in range(blocks.shape[0]):
        for block in range(blocks.shape[1]):
            begin = block * width
            whole = begin + width <= n
            for k in range(blocks.shape[2]):
                if whole:
                    for w in range(width):
                        blocks[e, block, k, w] = matrices[e, k, np.uint64(begin + w)]
                else:
                    for w in range(width):
                        blocks[e, block, k, w] = matrices[e, k, begin + w] if begin + w < n else 0


@compiled
def products(a, blocks, out, first, last):
    """out (e, m, n) = a (e, m, k) @ the matrices in blocks, in the columns of blocks `first` to `last`, excluded."""
    rows, terms = a.shape[1], a.shape[2]
    columns, width = out.shape[2], blocks.shape[3]
    flat_a, flat_b, flat_out = a.reshape(-1), blocks.reshape(-1), out.reshape(-1)
    spilled = np.zeros(ROWS * width, out.dtype)
    for e in range(out.shape[0]):
        for block in range(first, last):
            column = block * width
            whole = column + width <= columns
            target = flat_out if whole else spilled
            step = columns if whole else width
            for begin in range(0, terms, DEPTH):
                depth = min(DEPTH, terms - begin)
                b_at = ((e * blocks.shape[1] + block) * terms + begin) * width
                for row in range(0, rows, ROWS):
                    at = (e * rows + row) * terms + begin
                    place = (e * rows + row) * columns + column if whole else 0
                    more = whole and begin > 0
                    left = min(ROWS, rows - row)
                    if left == 6:
                        _tile_6(flat_a, at, terms, flat_b, b_at, depth, target, place, step, more)
                    elif left == 5:
                        _tile_5(flat_a, at, terms, flat_b, b_at, depth, target, place, step, more)
                    elif left == 4:
                        _tile_4(flat_a, at, terms, flat_b, b_at, depth, target, place, step, more)
                    elif left == 3:
                        _tile_3(flat_a, at, terms, flat_b, b_at, depth, target, place, step, more)
                    elif left == 2:
                        _tile_2(flat_a, at, terms, flat_b, b_at, depth, target, place, step, more)
                    else:
                        _tile_1(flat_a, at, terms, flat_b, b_at, depth, target, place, step, more)
                    if not whole:
                        for r in range(left):
                            for c in range(columns - column):
                                there = out[e, row + r, column + c] if begin > 0 else out.dtype.type(0)
                                out[e, row + r, column + c] = there + spilled[r * width + c]
