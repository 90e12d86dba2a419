"""What stands for the PTX of ptx.cuh, compared with matrices laid out by the tables of the PTX ISA."""

import re
from pathlib import Path

import numpy as np
import pytest

from cnn.kernels import FOLDER
from cuda_emulator import toolchain
from cuda_emulator.bench import MODES, ORDERS, Bench

LANES = np.arange(32)
GROUP, MEMBER = LANES // 4, LANES % 4  # the ISA's groupID and threadID_in_group


@pytest.fixture(params=[f"{mode}-{order}" for mode in MODES for order in ORDERS], scope="module")
def tensor(request) -> Bench:
    mode, order = request.param.split("-")
    return Bench("tensor_cores.cu", mode, order, timeout_s=20)


def bfloat16_words(values: np.ndarray) -> np.ndarray:
    """Of values that bfloat16 holds exactly: their upper 16 bits."""
    bits = values.astype(np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return bits >> 16


def fragments_bfloat16(a, b):
    """Registers of m16n8k16: a (16, 16), b (16, 8) to (32, 4) and (32, 2), by the tables of the ISA."""
    left, right = np.zeros((32, 4), np.uint32), np.zeros((32, 2), np.uint32)
    for i in range(8):
        row = GROUP + (0 if i in (0, 1, 4, 5) else 8)
        column = MEMBER * 2 + (i & 1) + (8 if i >= 4 else 0)
        left[:, i // 2] |= a[row, column] << np.uint32(16 * (i % 2))
    for i in range(4):
        row = MEMBER * 2 + (i & 1) + (8 if i >= 2 else 0)
        right[:, i // 2] |= b[row, GROUP] << np.uint32(16 * (i % 2))
    return left, right


def fragments_tf32(a, b):
    """Registers of m16n8k8: a (16, 8), b (8, 8) to (32, 4) and (32, 2)."""
    left = [a[GROUP + (8 if i in (1, 3) else 0), MEMBER + (4 if i in (2, 3) else 0)] for i in range(4)]
    return np.stack(left, axis=1), np.stack([b[MEMBER, GROUP], b[MEMBER + 4, GROUP]], axis=1)


def accumulators(c):
    """c (16, 8) to (32, 4)."""
    return np.stack([c[GROUP + (8 if i >= 2 else 0), MEMBER * 2 + (i & 1)] for i in range(4)], axis=1)


def product(bench, kernel, left, right, c):
    d = bench.xp.empty((32, 4), np.float32)
    bench.launch(kernel, *(bench.xp.asarray(np.ascontiguousarray(x)) for x in (left, right, accumulators(c))), d)
    return bench.xp.asnumpy(d)


def test_products_of_bfloat16(tensor, rng):
    a, b = rng.integers(-9, 10, (16, 16)) / 8, rng.integers(-9, 10, (16, 8)) / 4
    c = (rng.integers(-99, 100, (16, 8)) / 32).astype(np.float32)
    got = product(tensor, "products_bfloat16", *fragments_bfloat16(bfloat16_words(a), bfloat16_words(b)), c)
    np.testing.assert_array_equal(got, accumulators(c + a @ b))  # every sum is exact


def test_products_of_tf32_do_not_see_the_last_bits(tensor, rng):
    a, b = (rng.normal(size=size).astype(np.float32) for size in ((16, 8), (8, 8)))
    c = rng.normal(size=(16, 8)).astype(np.float32)
    got = product(tensor, "products_tf32", *fragments_tf32(a.view(np.uint32), b.view(np.uint32)), c)
    cut = [np.trunc(np.ldexp(m, 11)) * np.ldexp(1.0, e - 11) for m, e in map(np.frexp, (a, b))]
    np.testing.assert_allclose(got, accumulators(c + cut[0] @ cut[1]), rtol=0, atol=4e-6)
    assert np.abs(got - accumulators(c + a.astype(float) @ b)).max() > 1e-4


@pytest.mark.parametrize("turns", [0, 3])
def test_matrices(tensor, rng, turns):
    numbers = rng.integers(0, 2**16, (32, 8)).astype(np.uint16)
    # Rows in any order within eight: they lie in different banks.
    order = (LANES // 8 * 8 + (LANES * 5 + turns) % 8).astype(np.int32)
    y = tensor.xp.empty((2, 32, 4), np.uint32)
    tensor.launch("matrices", tensor.xp.asarray(numbers.view(np.uint32)), tensor.xp.asarray(order), y)
    given = numbers[order].reshape(4, 8, 8)
    for got, matrices in zip(tensor.xp.asnumpy(y), (given, given.transpose(0, 2, 1)), strict=True):
        pairs = np.ascontiguousarray(matrices).view(np.uint32)  # (4, 8, 4): matrix, row, pair
        np.testing.assert_array_equal(got, pairs[:, GROUP, MEMBER].T)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_copies(tensor, rng, steps):
    x = rng.normal(size=(steps, 32, 4)).astype(np.float32)
    copied = rng.integers(0, 2, 32).astype(np.int32)
    y = tensor.xp.empty(x.shape, np.float32)
    tensor.launch("copies", tensor.xp.asarray(x), tensor.xp.asarray(copied), y, np.int32(steps))
    np.testing.assert_array_equal(tensor.xp.asnumpy(y), x * copied[:, None])


def test_rounding(tensor, rng):
    x = (rng.normal(size=64) * 10.0 ** rng.integers(-20, 20, 64)).astype(np.float32)
    x[:8] = [1, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-11, 1 + 2**-11, 0, np.inf, -np.inf]
    pairs, tf32 = tensor.xp.empty(32, np.uint32), tensor.xp.empty(64, np.uint32)
    tensor.launch("rounded", tensor.xp.asarray(x), pairs, tf32)
    words = tensor.xp.asnumpy(pairs).view(np.uint16).astype(np.uint32) << 16
    mantissa, exponent = np.frexp(x.astype(np.float64))
    finite = np.isfinite(x)
    to_even = np.where(finite, np.rint(np.ldexp(mantissa, 8)) * np.exp2(exponent - 8.0), x)
    np.testing.assert_array_equal(words.view(np.float32), to_even.astype(np.float32))
    scaled = np.ldexp(mantissa, 11)
    away = np.where(finite, np.copysign(np.floor(np.abs(scaled) + 0.5), scaled) * np.exp2(exponent - 11.0), x)
    np.testing.assert_array_equal(tensor.xp.asnumpy(tf32).view(np.float32), away.astype(np.float32))


VIEWS = np.dtype(
    [(f"{name}_{side}", np.int32) for name in ("first", "next_block", "eight_rows", "further") for side in "ab"]
)


def placed(matrix, by_result, first, next_block, eight_rows, size):
    """bfloat16 words (along the result, along the sum) in `size` bytes of noise, and which bytes these are.

    As the PTX ISA lays out operands with its swizzle of 128 bytes: rows along the sum, or along the result, of 128
    bytes; then bits 4 to 6 of every address are changed by bits 7 to 9.
    """
    result, summed = np.indices(matrix.shape)
    if by_result:
        address = first + result // 64 * next_block + summed // 8 * eight_rows + summed % 8 * 128 + result % 64 * 2
    else:
        address = first + result // 8 * eight_rows + result % 8 * 128 + summed * 2
    address ^= (address & 0x380) >> 3
    words = np.full(size // 2, 0x7FC0, np.uint16)  # not a number
    words[address // 2] = matrix
    return words.view(np.uint32), address


# The first row's place, the distance of eight rows, and how many numbers along the sum the product begins further.
PLACES = [(0, 1024, 0), (384, 1024, 48), (1024 + 640, 1152, 32), (128, 1280, 16)]


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("b_by_result", [False, True], ids=["b_by_sum", "b_by_result"])
@pytest.mark.parametrize("a_by_result", [False, True], ids=["a_by_sum", "a_by_result"])
@pytest.mark.parametrize("n", [64, 128, 256])
def test_products_of_a_warpgroup(tensor, rng, n, a_by_result, b_by_result, place):
    first, eight_rows, further = place
    operands, views = [], np.zeros(1, VIEWS)
    begin, pieces = 0, []
    for side, rows, by_result in (("a", 64, a_by_result), ("b", n, b_by_result)):
        numbers = rng.integers(-9, 10, (rows, 64)) / 8
        # By the result 64 numbers along the sum take eight times eight rows; those of the next 64 rows come behind.
        next_block = 8 * -(-eight_rows // 1024) * 1024 + 2048
        size = -(-next_block * 4 // 1024) * 1024 if by_result else -(-(first + rows // 8 * eight_rows) // 1024) * 1024
        pieces.append(placed(bfloat16_words(numbers), by_result, first, next_block, eight_rows, size)[0])
        views[f"first_{side}"], views[f"next_block_{side}"] = begin + first, next_block
        views[f"eight_rows_{side}"] = eight_rows
        views[f"further_{side}"] = further // 8 * eight_rows if by_result else further * 2
        operands.append(numbers[:, further : further + 16])
        begin += size
    c = (rng.integers(-99, 100, (64, n)) / 64).astype(np.float32)
    row = np.arange(128)[:, None, None] // 32 * 16 + GROUP[np.arange(128) % 32][:, None, None]
    row = row + np.arange(4) // 2 * 8
    column = np.arange(n // 8)[:, None] * 8 + MEMBER[np.arange(128) % 32][:, None, None] * 2 + np.arange(4) % 2
    xp, d = tensor.xp, tensor.xp.empty((128, n // 8, 4), np.float32)
    name = f"products_warpgroup<{n}, {str(a_by_result).lower()}, {str(b_by_result).lower()}>"
    kernel = tensor.kernel(name)
    kernel.max_dynamic_shared_size_bytes = begin
    kernel(
        (1,),
        (128,),
        (xp.asarray(np.concatenate(pieces)), np.int32(begin), xp.asarray(c[row, column]), d, views),
        shared_mem=begin,
    )
    exact = c + 2 * operands[0] @ operands[1].T
    np.testing.assert_array_equal(xp.asnumpy(d), exact[row, column])  # every sum is exact


def declarations(path: Path) -> dict[str, set[str]]:
    """The functions outside of namespaces, with the parameters of each overload but for the place of the call."""
    text = re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8"))
    text = re.sub(r"namespace cuda_emulator \{.*?\}  *\n*(?=\n(?:inline|CUDA))", "", text, flags=re.DOTALL)
    found = re.findall(
        r"^(?:CUDA_EMULATOR_INLINE|inline|__device__ __forceinline__) [\w ]+? (\w+)\(([^{]*)\) \{", text, re.M
    )
    functions: dict[str, set[str]] = {}
    for name, parameters in found:
        functions.setdefault(name, set()).add(
            " ".join(parameters.replace("CUDA_EMULATOR_SITE", "").split()).rstrip(", ")
        )
    return functions


def test_both_headers_declare_the_same():
    own, emulated = declarations(FOLDER / "ptx.cuh"), declarations(toolchain.INCLUDE / "ptx" / "ptx.cuh")
    assert set(own) >= {"copy_or_zero_16", "wait_for_copies", "load_matrices", "multiply_bfloat16", "multiply_tf32"}
    # For each width of a warpgroup's product an overload of its own: the emulator has one template.
    widths = {f"float (&d)[{n // 8}][4], MatrixView a, MatrixView b" for n in (64, 128, 256)}
    assert own.pop("multiply_warpgroup") == widths
    assert emulated.pop("multiply_warpgroup") == {"float (&d)[COLUMNS][4], MatrixView a, MatrixView b"}
    assert own == emulated
