"""The engine's matrix products against NumPy's, at sizes that fill no tile, for every processor's tile."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="Numba is not installed (pip install -e '.[fast]')")

from llvmlite import binding as llvm  # noqa: E402

from cnn.backends.cpu import conv_primitives as primitives  # noqa: E402
from cnn.backends.cpu import product_kernels  # noqa: E402
from cnn.backends.cpu.conv_algorithms import filter_chunks  # noqa: E402
from cnn.backends.cpu.conv_problem import Filter  # noqa: E402
from cnn.backends.cpu.vectors import AVX2, AVX512, NEON, SSE, TILES, tile_for  # noqa: E402

ROWS, COLUMNS = (1, 5, 6, 7, 12, 13, 25), (1, 7, 16, 31, 32, 40)


@pytest.fixture(params=sorted(TILES))
def tile(request, monkeypatch):
    """The tile of a kind of processor, in place of this one's: LLVM makes its vectors of what there is."""
    monkeypatch.setattr(primitives, "host_tile", lambda: TILES[request.param])
    return TILES[request.param]


def bound(terms: int, dtype: str) -> float:
    return 4 * np.sqrt(terms) * (1e-6 if dtype == "float32" else 1e-15)


def multiplied(a, weights, columns, chunks=(slice(None),)):
    """a @ the weights by the engine, into memory that holds anything but zeros."""
    out = np.full((len(a), columns), np.nan, a.dtype)
    for chunk in chunks:
        primitives.products(primitives.matrix_rows(a), weights, out, chunk)
    return out


@pytest.mark.parametrize("terms", [1, 9, 255, 257, 700])
def test_any_number_of_rows_columns_and_terms(tile, terms, rng):
    for rows in ROWS:
        for columns in COLUMNS:
            a, b = rng.normal(size=(rows, terms)).astype("f"), rng.normal(size=(terms, columns)).astype("f")
            exact, plain = a.astype(float) @ b.astype(float), primitives.matrix_weights(b)
            for weights in (
                plain,
                primitives.packed_weights(plain),
                primitives.matrix_weights(np.ascontiguousarray(b.T), transposed=True),
            ):
                actual = multiplied(a, weights, columns)
                np.testing.assert_allclose(actual, exact, rtol=0, atol=bound(terms, "float32"))


@pytest.mark.parametrize("rows", [1, 6, 255, 300])
def test_any_number_of_rows_that_are_summed_up(tile, rows, rng):
    for terms in (1, 5, 6, 13, 30):
        for columns in COLUMNS:
            a, b = rng.normal(size=(rows, terms)).astype("f"), rng.normal(size=(rows, columns)).astype("f")
            out, exact = np.full((terms, columns), np.nan, "f"), a.T.astype(float) @ b.astype(float)
            left = primitives.matrix_rows(a)
            primitives.transposed_products(left, b, out, more=False)
            np.testing.assert_allclose(out, exact, rtol=0, atol=bound(rows, "float32"))
            primitives.transposed_products(left, b, out, more=True)
            np.testing.assert_allclose(out, 2 * exact, rtol=0, atol=2 * bound(rows, "float32"))


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_groups_and_taps_of_a_filter(dtype, flipped, rng):
    """Groups side by side, in both orders in which a filter is read, packed and not."""
    for groups, depth, width in ((1, 3, 5), (2, 17, 4), (3, 8, 40)):
        w = rng.normal(size=(2, 3, depth, groups * width)).astype(dtype)
        by_group = w.reshape(6, depth, groups, width).transpose(2, 0, 1, 3)
        if flipped:
            by_group = by_group[:, ::-1].transpose(0, 1, 3, 2)
        inside = by_group.shape[2]
        a = rng.normal(size=(7, groups, 6, inside)).astype(dtype)
        exact = np.einsum("rgti,gtio->rgo", a.astype(float), by_group.astype(float)).reshape(7, -1)
        # A row holds all groups; a group's terms are the tap's neighbours, tap after tap.
        flat = np.ascontiguousarray(a.transpose(0, 2, 1, 3)).reshape(7, -1)
        left = primitives.Rows(
            flat.reshape(-1), (1, 1, 7), (0, 0, flat.shape[1]), np.arange(6) * groups * inside, inside
        )
        weights = primitives.filter_weights(Filter(w, groups, flipped))
        for given in (weights, primitives.packed_weights(weights)):
            out = np.full(exact.shape, np.nan, dtype)
            primitives.products(left, given, out)
            np.testing.assert_allclose(out, exact, rtol=0, atol=bound(6 * inside, dtype))


@pytest.mark.parametrize("columns", [5, 16, 37, 64, 100, 129])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chunks_of_the_columns_make_the_whole(dtype, columns, rng):
    a, b = rng.normal(size=(11, 30)).astype(dtype), rng.normal(size=(30, columns)).astype(dtype)
    weights = primitives.matrix_weights(b)
    some = filter_chunks(columns, a.itemsize)
    np.testing.assert_array_equal(multiplied(a, weights, columns, some), multiplied(a, weights, columns))


def test_no_column_beyond_a_chunk_is_touched(tile, rng):
    width = tile.columns(4)
    a, b = rng.normal(size=(7, 20)).astype("f"), rng.normal(size=(20, 3 * width)).astype("f")
    out = multiplied(a, primitives.matrix_weights(b), 3 * width, [slice(width, 2 * width)])
    np.testing.assert_allclose(out[:, width : 2 * width], (a @ b)[:, width : 2 * width], atol=1e-5)
    assert np.isnan(out[:, :width]).all()
    assert np.isnan(out[:, 2 * width :]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row(tile, value):
    """The zeros that fill up the last columns' block must not meet it in another's sum."""
    a, b = np.ones((7, 4), "f"), np.ones((4, 3), "f")
    a[5, 2] = value
    out = multiplied(a, primitives.matrix_weights(b), 3)
    assert not np.isfinite(out[5]).any()
    np.testing.assert_array_equal(np.delete(out, 5, axis=0), 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("terms", "columns"), [(1, 1), (3, 5), (7, 64), (2303, 255), (2305, 257)])
def test_a_single_row(terms, columns, dtype, rng):
    """What a dense layer computes for one example, on chunks of the columns."""
    w, x, dy = (rng.normal(size=shape).astype(dtype) for shape in ((terms, columns), terms, columns))
    y, dx, dw = np.full(columns, np.nan, dtype), np.full(terms, np.nan, dtype), np.full_like(w, np.nan)
    for begin, end in ((0, columns // 3), (columns // 3, columns)):
        product_kernels.vector_times(x, w, y, begin, end)
    for begin, end in ((0, terms // 2), (terms // 2, terms)):
        product_kernels.vector_times_transposed(dy, w, dx, begin, end)
        product_kernels.outer(x, dy, dw, begin, end)
    exact = w.astype(np.longdouble)  # of which float64's own product is as far away
    np.testing.assert_allclose(y, x @ exact, rtol=0, atol=bound(terms, dtype))
    np.testing.assert_allclose(dx, exact @ dy, rtol=0, atol=bound(columns, dtype))
    np.testing.assert_array_equal(dw, np.outer(x, dy))


# --- what the processor has -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "features", "expected"),
    [
        ("x86_64", "+avx,+avx2,+avx512f,+avx512vl,+fma,+sse2", AVX512),
        ("AMD64", "+avx,+avx2,-avx512f,+fma,+sse2", AVX2),
        ("x86_64", "+avx,-avx2,-avx512f,-fma,+sse2", AVX2),
        ("x86_64", "-avx,-avx2,+sse2", SSE),
        ("x86_64", "", SSE),
        ("aarch64", "+neon,+fp-armv8", NEON),
        ("arm64", "", NEON),
        ("riscv64", "+v", SSE),
    ],
)
def test_the_tile_follows_the_processor(machine, features, expected):
    assert tile_for(machine, features) == expected


def innermost(triple: str, cpu: str, tile, columns: bool) -> list[str]:
    """The instructions of the loop over a whole tile's terms, compiled for another processor."""
    source = product_kernels._column_tile if columns else product_kernels._row_tile

    def one(tile, count, a, at, places, place, b, b_at, depth, out, out_at, out_step, more):
        source(tile, count, a, at, places, place, b, b_at, depth, out, out_at, out_step, more)

    integer, numbers = numba.types.int64, numba.types.float32[::1]
    signature = (
        *(numba.typeof(tile.shape), integer, numbers, integer, integer[::1], integer),
        *(numbers, integer, integer, numbers, integer, integer, numba.types.boolean),
    )
    compiled = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(one)
    compiled.compile(signature)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3, reloc="pic")
    except RuntimeError:
        pytest.skip(f"this LLVM does not compile for {triple}")
    text = compiled.inspect_llvm()[signature]
    text = re.sub(r"target triple = .*", f'target triple = "{triple}"', text)
    text = re.sub(r"target datalayout = .*", f'target datalayout = "{machine.target_data}"', text)
    loops, label, lines = [], "", []
    for line in map(str.strip, machine.emit_assembly(llvm.parse_assembly(text)).splitlines()):
        if found := re.match(r"([\w.$]+):", line):
            label, lines = found[1], []
        elif line and line[0] not in ".#/;":
            lines.append(line)
            if re.match(r"(j\w+|b\.\w+|cbn?z)\s", line):
                if label and re.search(rf"{re.escape(label)}\b", line):
                    loops.append(lines)
                label, lines = "", []
    return max(loops, key=lambda loop: sum("fma" in line or "fmla" in line for line in loop))


@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize(
    ("triple", "cpu", "name", "multiply_add", "stack"),
    [
        ("x86_64-unknown-linux-gnu", "skylake-avx512", "avx512", r"vfmadd\w+ps\s.*zmm", "rsp"),
        ("x86_64-unknown-linux-gnu", "sapphirerapids", "avx512", r"vfmadd\w+ps\s.*zmm", "rsp"),
        ("x86_64-unknown-linux-gnu", "znver4", "avx512", r"vfmadd\w+ps\s.*zmm", "rsp"),
        ("x86_64-unknown-linux-gnu", "haswell", "avx2", r"vfmadd\w+ps\s.*ymm", "rsp"),
        ("aarch64-unknown-linux-gnu", "neoverse-n1", "neon", r"fmla\s.*\.4s", "[sp"),
    ],
)
def test_a_tile_stays_in_registers(triple, cpu, name, multiply_add, stack, columns):
    """One instruction for each of the tile's vectors a term, and nothing put aside in memory."""
    tile = TILES[name]
    loop = innermost(triple, cpu, tile, columns)
    assert sum(bool(re.match(multiply_add, line)) for line in loop) == tile.rows * tile.vectors
    assert not [line for line in loop if stack in line]
    assert len(loop) <= tile.rows * tile.vectors + 2 * tile.rows + tile.vectors + 6


@pytest.mark.skipif("+sse2" not in numba.core.codegen.get_host_cpu_features(), reason="this is no x86 processor")
def test_loops_use_the_widest_vectors_of_intels_processors(tmp_path):
    """LLVM takes half of them by itself. In a process of its own: Numba fixes the processor when it first compiles."""
    names = "avx avx2 avx512bw avx512cd avx512dq avx512f avx512vl bmi bmi2 fma sse sse2 sse3 ssse3 sse4.1 sse4.2"
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "sapphirerapids",
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in names.split()),
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    script = """
from numba import types
from cnn.backends.cpu import conv_kernels
from cnn.backends.cpu.vectors import AVX512, host_tile
rows, truth, number = types.float32[:, ::1], types.boolean, types.int64
conv_kernels.finish.compile((rows, types.float32[::1], truth, truth, number, number))
print(host_tile() == AVX512, "zmm" in next(iter(conv_kernels.finish.inspect_asm().values())))
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
