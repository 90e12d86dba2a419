"""Matrix products for convolutions and dense layers, in tiles of the result that stay in registers.

After Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008, section 4. The left matrix is
never copied: its rows may begin anywhere in an array, so that the windows of an image are its rows without being
unrolled (Dukhan, "The indirect convolution algorithm", 2019). The right matrix is read in lines of the tile's columns:
packed beforehand, as constant weights and transformed filters are, or packed here, block by block, into memory that
stays in the cache until all rows have met it.

A `tile` is `Tile.shape`. What is computed `count` times, for each group of a grouped convolution or each element of a
transformed tile, takes its matrices `step` numbers apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cnn.backends.cpu.jit import compiled, compiled_sums, wide_vectors
from cnn.backends.cpu.llvm import INTEGER, Vectors, constant, data

# Terms that are summed in registers before they join the result: a block of the right matrix stays in the L1 cache for
# all rows, and sums of thousands of numbers are sums of sums.
DEPTH = 256
# Bytes of a line of several blocks that are packed together: neighbouring cache lines are read one after the other.
_PACKED_BYTES = 256
_AHEAD = 16  # lines that are fetched before they are packed
# How the right matrix lies in memory; see `rows_times`.
PACKED, PLAIN, FLIPPED = 0, 1, 2


# --- written in LLVM's own terms: Numba has no vectors, and no arrays that live in registers -------------------------


def _not_unrolled(module: Any) -> Any:
    """A loop's metadata that forbids to unroll it: two rounds at a time would need more registers than there are."""
    loop = module.add_metadata([module.add_metadata(["llvm.loop.unroll.disable"])])
    loop.operands = (loop, *loop.operands)  # a loop is known by metadata that name themselves
    return loop


def _prefetch(builder: Any, address: Any, *, write: bool) -> None:
    """Fetch a cache line that is going to be read or written. The address may lie beyond the array."""
    number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    options = [ir.Constant(number, value) for value in (int(write), 3, 1)]  # into all levels of the cache of data
    builder.call(prefetch, [builder.bitcast(address, byte), *options])


def _register_tile(elements: Callable[..., Callable[[Any, Any], list[Any]]]) -> Callable[..., None]:
    """`function(tile, count, a, at, places, place, b, b_at, depth, out, out_at, out_step, more)`.

    `count` rows, at most the tile's, of `depth` terms each, times `depth` lines of b from `b_at` on; into rows of out,
    `out_step` apart from `out_at` on or, with `more`, added to what is there. All arrays are flat.

    `elements(context, builder, signature, given, rows, backwards)` says where the left matrix's elements lie: it
    returns a function of a term, counted from `backwards` up to zero, that gives the addresses of its `rows` elements.
    """

    @intrinsic
    def function(
        _context: Any,
        tile: Any,
        count: Any,
        a: Any,
        at: Any,
        places: Any,
        place: Any,
        b: Any,
        b_at: Any,
        depth: Any,
        out: Any,
        out_at: Any,
        out_step: Any,
        more: Any,
    ) -> Any:
        signature = types.void(tile, count, a, at, places, place, b, b_at, depth, out, out_at, out_step, more)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            most, vectors, units = (each.count for each in signature.args[0])
            vector = Vectors(builder, context.get_data_type(signature.args[2].dtype), 16 * units)
            width = vectors * vector.lanes
            depth, out_at, out_step, more = given[8], given[10], given[11], given[12]
            # Terms count from -depth to zero: the loop then needs no register for its end.
            first_term = builder.neg(depth)
            line_end = builder.add(given[7], builder.mul(depth, constant(width)))
            lines = data(context, builder, signature.args[6], given[6], line_end)
            result = data(context, builder, signature.args[9], given[9], out_at)
            done = builder.append_basic_block("done")
            cases = builder.switch(given[1], done)
            for rows in range(1, most + 1):
                begin, loop, store = (builder.append_basic_block(f"{name}{rows}") for name in ("rows", "terms", "sums"))
                cases.add_case(ir.Constant(given[1].type, rows), begin)
                builder.position_at_end(begin)
                addresses = elements(context, builder, signature, given, rows, first_term)
                for number in range(rows):
                    _prefetch(builder, builder.gep(result, [builder.mul(out_step, constant(number))]), write=True)
                builder.branch(loop)

                builder.position_at_end(loop)
                term = builder.phi(INTEGER)
                sums = [[builder.phi(vector.type) for _ in range(vectors)] for _ in range(rows)]
                line = builder.mul(term, constant(width))
                right = [vector.load(lines, builder.add(line, constant(vector.lanes * v))) for v in range(vectors)]
                new_sums = []
                for address, row in zip(addresses(builder, term), sums, strict=True):
                    left = vector.everywhere(builder.load(address))
                    new_sums.append([vector.multiply_add(left, right[v], row[v]) for v in range(vectors)])
                following = builder.add(term, constant(1))
                term.add_incoming(first_term, begin)
                term.add_incoming(following, loop)
                for row, results in zip(sums, new_sums, strict=True):
                    for phi, value in zip(row, results, strict=True):
                        phi.add_incoming(vector.zero, begin)
                        phi.add_incoming(value, loop)
                again = builder.cbranch(builder.icmp_signed("!=", following, constant(0)), loop, store)
                again.set_metadata("llvm.loop", _not_unrolled(builder.module))

                builder.position_at_end(store)
                plain, sum_up = (builder.append_basic_block(f"{name}{rows}") for name in ("plain", "add"))
                builder.cbranch(more, sum_up, plain)
                for block in (plain, sum_up):
                    builder.position_at_end(block)
                    for number, results in enumerate(new_sums):
                        target = builder.gep(result, [builder.mul(out_step, constant(number))])
                        for v, value in enumerate(results):
                            at = constant(vector.lanes * v)
                            total = value if block is plain else builder.fadd(value, vector.load(target, at))
                            vector.store(total, target, at)
                    builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return signature, generate

    return function


def _rows_anywhere(context: Any, builder: Any, signature: Any, given: Any, rows: int, first_term: Any) -> Any:
    """Row r's terms are neighbours, from a[at + places[place + r]] on."""
    places = data(context, builder, signature.args[4], given[4], given[5])
    sources = []
    for row in range(rows):
        begin = builder.add(given[3], builder.load(builder.gep(places, [constant(row)])))
        sources.append(data(context, builder, signature.args[2], given[2], builder.sub(begin, first_term)))
    return lambda builder, term: [builder.gep(source, [term]) for source in sources]


def _terms_anywhere(context: Any, builder: Any, signature: Any, given: Any, rows: int, first_term: Any) -> Any:
    """A term's rows are neighbours, from a[at + places[place + term]] on."""
    begin = data(context, builder, signature.args[2], given[2], given[3])
    places = data(context, builder, signature.args[4], given[4], builder.sub(given[5], first_term))

    def addresses(builder: Any, term: Any) -> list[Any]:
        source = builder.gep(begin, [builder.load(builder.gep(places, [term]))])
        return [builder.gep(source, [constant(row)]) for row in range(rows)]

    return addresses


_row_tile = _register_tile(_rows_anywhere)
_column_tile = _register_tile(_terms_anywhere)


@intrinsic
def _copy_line(_context: Any, tile: Any, a: Any, at: Any, out: Any, out_at: Any, ahead: Any) -> Any:
    """A line of the tile's columns, from flat a to flat out; what lies `ahead` of it is fetched into the cache."""
    signature = types.void(tile, a, at, out, out_at, ahead)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, vectors, units = (each.count for each in signature.args[0])
        vector = Vectors(builder, context.get_data_type(signature.args[1].dtype), 16 * units)
        source = data(context, builder, signature.args[1], given[1], given[2])
        target = data(context, builder, signature.args[3], given[3], given[4])
        _prefetch(builder, builder.gep(source, [given[5]]), write=False)
        for v in range(vectors):
            vector.store(vector.load(source, constant(vector.lanes * v)), target, constant(vector.lanes * v))
        return context.get_dummy_value()

    return signature, generate


_SQUARE_BYTES = 32  # of a vector of the square that is transposed at a time


@intrinsic
def _transpose(_context: Any, a: Any, at: Any, step: Any, out: Any, out_at: Any, out_step: Any) -> Any:
    """A square of flat a, rows `step` apart from `at` on, transposed into flat out: a vector of 32 bytes a row."""
    signature = types.void(a, at, step, out, out_at, out_step)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = Vectors(builder, context.get_data_type(signature.args[0].dtype), _SQUARE_BYTES)
        size = vector.lanes
        source = data(context, builder, signature.args[0], given[0], given[1])
        target = data(context, builder, signature.args[3], given[3], given[4])
        rows = [vector.load(source, builder.mul(given[2], constant(row))) for row in range(size)]
        half = range(size // 2)
        lanes = [[lane for pair in half for lane in (pair + begin, pair + begin + size)] for begin in (0, size // 2)]
        for _ in range(size.bit_length() - 1):  # each round interleaves rows half the square apart
            pairs = [(rows[row], rows[row + size // 2]) for row in half]
            rows = [vector.shuffle(*pair, some) for pair in pairs for some in lanes]
        for row, value in enumerate(rows):
            vector.store(value, target, builder.mul(given[5], constant(row)))
        return context.get_dummy_value()

    return signature, generate


# --- packing --------------------------------------------------------------------------------------------------------


@compiled
def line_numbers(tile, a):
    """How many numbers a packed line holds."""
    return len(tile[1]) * len(tile[2]) * 16 // a.itemsize


@compiled
def pack_plain(tile, b, at, step, depth, columns, width, packed, to):
    """Lines of flat b, `step` apart from `at` on, as blocks of `width` columns, zeros beyond `columns`."""
    blocks = (columns + width - 1) // width
    for k in range(depth):
        for block in range(blocks):
            source, target = at + k * step + block * width, to + (block * depth + k) * width
            if (block + 1) * width <= columns:
                _copy_line(tile, b, source, packed, target, _AHEAD * step)
            else:
                left = columns - block * width
                for w in range(width):
                    packed[target + w] = b[source + w] if w < left else 0


@compiled
def pack_transposed(b, at, step, depth, columns, width, packed, to, lines):
    """As `pack_plain`, where the columns are `step` apart and a column's terms are neighbours.

    A block has room for `lines` terms, from `to` on, of which `depth` are filled.
    """
    size = 32 // b.itemsize
    for begin in range(0, (columns + width - 1) // width * width, size):
        block, inside = begin // width, begin % width
        for k in range(0, depth, size):
            source, target = at + begin * step + k, to + (block * lines + k) * width + inside
            if begin + size <= columns and k + size <= depth:
                _transpose(b, source, step, packed, target, width)
            else:
                for i in range(min(size, depth - k)):
                    for w in range(size):
                        packed[target + i * width + w] = b[source + w * step + i] if begin + w < columns else 0


@compiled
def _pack_flipped(b, at, layout, first, depth, column, columns, width, packed, to):
    """Terms `first` on of a flipped filter: see `rows_times`."""
    step, taps, tap_rows, length = layout[2], layout[3], layout[4], layout[5]
    done = 0
    while done < depth:
        tap, inside = (first + done) // length, (first + done) % length
        some = min(depth - done, length - inside)
        source = at + ((taps - 1 - tap) * tap_rows + column) * step + inside
        pack_transposed(b, source, step, some, columns, width, packed, to + done * width, depth)
        done += some


@compiled
def _positions(grid, strides):
    """Where the pixels of `grid` (images, rows, columns) lie, `strides` numbers apart, one after the other."""
    found = np.empty(grid[0] * grid[1] * grid[2], np.int64)
    for n in range(grid[0]):
        for i in range(grid[1]):
            for j in range(grid[2]):
                found[(n * grid[1] + i) * grid[2] + j] = n * strides[0] + i * strides[1] + j * strides[2]
    return found


@compiled
def pack(tile, count, b, layout, columns, terms, packed):
    """The right matrices of `rows_times` in its layout PACKED, for those that are used again: into flat `packed`."""
    width = line_numbers(tile, b)
    size = (columns + width - 1) // width * width * terms
    for e in range(count):
        if layout[0] == PLAIN:
            pack_plain(tile, b, e * layout[1], layout[2], terms, columns, width, packed, e * size)
        else:
            _pack_flipped(b, e * layout[1], layout, 0, terms, 0, columns, width, packed, e * size)


# --- a single row: bound by reading the matrix, so nothing is packed -------------------------------------------------


@compiled
def vector_times(x, w, y, first, last):
    """y = x @ w in columns `first` to `last`, excluded: x (k,), w (k, n), y (n,)."""
    wide_vectors()
    first, last = np.uint64(first), np.uint64(last)
    for c in range(first, last):
        y[c] = 0
    whole = x.shape[0] // 8 * 8
    for k in range(0, whole, 8):  # eight rows at a time, so that the sums are read and written less often
        for c in range(first, last):
            one = (x[k] * w[k, c] + x[k + 1] * w[k + 1, c]) + (x[k + 2] * w[k + 2, c] + x[k + 3] * w[k + 3, c])
            two = (x[k + 4] * w[k + 4, c] + x[k + 5] * w[k + 5, c]) + (x[k + 6] * w[k + 6, c] + x[k + 7] * w[k + 7, c])
            y[c] += one + two
    for k in range(whole, x.shape[0]):
        for c in range(first, last):
            y[c] += x[k] * w[k, c]


@compiled_sums
def vector_times_transposed(x, w, y, first, last):
    """y = x @ w^T in columns `first` to `last`, excluded: x (n,), w (k, n), y (k,)."""
    wide_vectors()
    for c in range(first, last):
        total = y.dtype.type(0)
        for k in range(x.shape[0]):
            total += x[k] * w[c, k]
        y[c] = total


@compiled
def outer(x, y, w, first, last):
    """w = x^T @ y in rows `first` to `last`, excluded: x (k,), y (n,), w (k, n)."""
    wide_vectors()
    for k in range(first, last):
        for c in range(y.shape[0]):
            w[k, c] = x[k] * y[c]


# --- products -------------------------------------------------------------------------------------------------------


@compiled
def rows_times(
    tile, count, a, a_step, grid, strides, shifts, length, b, layout, out, out_step, row_step, blocks, columns
):
    """out = left @ right, `count` times: the blocks of `columns` columns from blocks[0] to blocks[1], excluded.

    A row of the left matrix belongs to a pixel of `grid` (images, rows, columns), which lie `strides` apart in flat a:
    it is `length` neighbouring numbers of a from the pixel on, moved by each of `shifts`. Rows of the result lie
    `row_step` apart in flat out.

    The right matrix lies in flat b as `layout` (how, step, row_step, taps, tap_rows, length) says. PACKED: blocks of
    the tile's columns, line by line. PLAIN: rows, `row_step` apart. FLIPPED: the filter (taps, tap_rows, row_step) of
    which a transposed convolution is made: the columns are the `tap_rows` rows of a tap, and the terms are `length`
    numbers of such a row, of the last tap first. `step` leads to the next of the `count`.
    """
    width = line_numbers(tile, a)
    rows, terms, most = grid[0] * grid[1] * grid[2], len(shifts) * length, len(tile[0])
    tiles, chunks = (rows + most - 1) // most, (length + DEPTH - 1) // DEPTH
    together = max(1, _PACKED_BYTES // (width * a.itemsize))
    how, b_step = layout[0], layout[1]
    positions = _positions(grid, strides)
    packed = np.empty(together * DEPTH * width if how != PACKED else 1, a.dtype)
    beside = np.zeros(most * width, out.dtype)  # a tile that reaches beyond the result
    for e in range(count):
        for group in range(blocks[0], blocks[1], together):
            last = min(group + together, blocks[1])
            for run in range(len(shifts)):
                for chunk in range(chunks):
                    begin, end = length * chunk // chunks, length * (chunk + 1) // chunks
                    first, depth, more = run * length + begin, end - begin, run + chunk > 0
                    some = min(last * width, columns) - group * width
                    if how == PLAIN:
                        source = e * b_step + first * layout[2] + group * width
                        pack_plain(tile, b, source, layout[2], depth, some, width, packed, 0)
                    elif how == FLIPPED:
                        _pack_flipped(b, e * b_step, layout, first, depth, group * width, some, width, packed, 0)
                    for block in range(group, last):
                        whole = (block + 1) * width <= columns
                        lines, line = packed, (block - group) * depth * width
                        if how == PACKED:
                            lines, line = b, e * b_step + (block * terms + first) * width
                        source = e * a_step + shifts[run] + begin
                        target, step = out if whole else beside, row_step if whole else width
                        for t in range(tiles):
                            row, number = rows * t // tiles, rows * (t + 1) // tiles - rows * t // tiles
                            place = e * out_step + row * row_step + block * width
                            at, add = place if whole else 0, more and whole
                            _row_tile(
                                tile, number, a, source, positions, row, lines, line, depth, target, at, step, add
                            )
                            if not whole:
                                _copy(beside, width, number, columns - block * width, out, place, row_step, more)


@compiled
def columns_times(
    tile,
    count,
    a,
    a_step,
    grid,
    strides,
    shifts,
    length,
    b,
    b_step,
    b_row_step,
    out,
    out_step,
    row_step,
    blocks,
    columns,
    more,
):
    """out = left^T @ right, `count` times, or with `more` added to what is there; blocks of columns as in `rows_times`.

    The left matrix is that of `rows_times`. The right one is rows (pixels of the grid, columns) of flat b, `b_row_step`
    apart; the result is (shifts * length, columns).
    """
    width = line_numbers(tile, a)
    terms, most = grid[0] * grid[1] * grid[2], len(tile[0])
    tiles, chunks = (length + most - 1) // most, (terms + DEPTH - 1) // DEPTH
    together = max(1, _PACKED_BYTES // (width * a.itemsize))
    positions = _positions(grid, strides)
    packed = np.empty(together * DEPTH * width, a.dtype)
    beside = np.zeros(most * width, out.dtype)
    for e in range(count):
        for group in range(blocks[0], blocks[1], together):
            last = min(group + together, blocks[1])
            for chunk in range(chunks):
                begin, end = terms * chunk // chunks, terms * (chunk + 1) // chunks
                depth, later = end - begin, more or chunk > 0
                some = min(last * width, columns) - group * width
                source = e * b_step + begin * b_row_step + group * width
                pack_plain(tile, b, source, b_row_step, depth, some, width, packed, 0)
                for run in range(len(shifts)):
                    for t in range(tiles):
                        row, number = length * t // tiles, length * (t + 1) // tiles - length * t // tiles
                        source = e * a_step + shifts[run] + row
                        for block in range(group, last):
                            whole = (block + 1) * width <= columns
                            line = (block - group) * depth * width
                            place = e * out_step + (run * length + row) * row_step + block * width
                            target, step = out if whole else beside, row_step if whole else width
                            at, add = place if whole else 0, later and whole
                            _column_tile(
                                tile, number, a, source, positions, begin, packed, line, depth, target, at, step, add
                            )
                            if not whole:
                                _copy(beside, width, number, columns - block * width, out, place, row_step, later)


@compiled
def _copy(tile_rows, width, rows, columns, out, at, step, more):
    """What a tile computed beside the result, as far as it belongs there."""
    for r in range(rows):
        for c in range(columns):
            there = out[at + r * step + c] if more else out.dtype.type(0)
            out[at + r * step + c] = there + tile_rows[r * width + c]
