"""What a kernel is given: CuPy's conversions, compared with the compiled signature."""

import numpy as np
import pytest

from cuda_emulator import EmulatorError

SCALE = np.dtype([("factor", np.float32), ("offset", np.float32), ("repeats", np.int32)])
TENSORS = np.dtype([("data", np.uint64, 4), ("size", np.int32, 4)])
SCALARS = (np.float32(1.5), np.int32(2), np.bool_(True), np.int64(-(2**40)), np.uint8(200), np.float64(0.25))


def test_scalars_by_value(bench):
    y = bench.xp.empty(1, np.float64)
    bench.launch("scalars", *SCALARS, y, block=1)
    assert y[0] == 1.5 + 2 + 1 - 2**40 + 200 + 0.25


def test_python_numbers_are_eight_bytes_as_in_cupy(fast):
    y = fast.xp.empty(1, np.float64)
    fast.launch("scalars", *SCALARS[:2], True, -5, SCALARS[4], 0.5, y)
    assert y[0] == 1.5 + 2 + 1 - 5 + 200 + 0.5


def test_structs_by_value_and_null_pointers(bench):
    xp = bench.xp
    x, y, scale = np.arange(70, dtype=np.float32), xp.empty(70, np.float32), np.array([(2, 0.5, 3)], dtype=SCALE)
    bench.launch("by_struct", xp.asarray(x), y, scale, np.int32(70), grid=3)
    assert np.array_equal(xp.asnumpy(y), x * 6 + 0.5)
    bench.launch("by_struct", None, y, scale, np.int32(70), grid=3)
    assert np.array_equal(xp.asnumpy(y), np.full(70, 0.5))


def test_pointers_in_a_struct(bench):
    xp = bench.xp
    arrays = [xp.asarray(np.full(size, size, np.float32)) for size in (3, 50, 7, 1)]
    tensors = np.array([([array.data.ptr for array in arrays], [array.size for array in arrays])], dtype=TENSORS)
    bench.launch("by_pointers", tensors, np.float32(0.5), grid=4)
    for array in arrays:
        assert np.array_equal(xp.asnumpy(array), np.full(array.size, array.size + 0.5))


def test_a_pointer_to_vectors_takes_floats(bench):
    x, y = bench.xp.asarray(np.arange(64, dtype=np.float32)), bench.xp.empty(64, np.float32)
    bench.launch("add_vectors", x, x, y, block=16)
    assert np.array_equal(bench.xp.asnumpy(y), 2 * np.arange(64))


def refused(bench, name, *args, **launch):
    with pytest.raises(EmulatorError) as error:
        bench.launch(name, *args, **launch)
    return str(error.value)


def test_a_wrong_argument_is_named(fast):
    xp = fast.xp
    x, y, scale = xp.zeros(8, np.float32), xp.empty(8, np.float32), np.zeros(1, SCALE)
    n = np.int32(8)
    assert "by_struct takes 4 arguments, not 3" in refused(fast, "by_struct", x, y, scale)
    assert "argument 3 (n) must be int32, not int64" in refused(fast, "by_struct", x, y, scale, 8)
    assert "argument 3 (n) must be int32, not uint32" in refused(fast, "by_struct", x, y, scale, np.uint32(8))
    assert "argument 2 (scale) must be struct:12, not float32" in refused(fast, "by_struct", x, y, np.float32(1), n)
    wide = np.zeros(1, TENSORS)
    assert "argument 2 (scale) must be struct:12, not an array on the host" in refused(fast, "by_struct", x, y, wide, n)
    double = xp.zeros(8, np.float64)
    assert "argument 0 (x) must be an array of float32, not of float64" in refused(
        fast, "by_struct", double, y, scale, n
    )
    host = np.zeros(8, np.float32)
    assert "argument 1 (y) must be an array on the device" in refused(fast, "by_struct", x, host, scale, n)
    strided = xp.zeros(16, np.float32)[::2]
    assert "argument 1 (y) must be C-contiguous; its shape is (8,), its strides (8,)" in refused(
        fast, "by_struct", x, strided, scale, n
    )
    assert "argument 0 (a) must be one float32 by value" in refused(fast, "scalars", None, *SCALARS[1:], x)
    assert "argument 0 (a) must be float32, not float64" in refused(fast, "scalars", 1.5, *SCALARS[1:], x)


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        (1, 1025, "more than 1024 threads"),
        (1, (32, 8, 5), "more than 1024 threads"),
        (1, (1, 1, 65), "more than 1024 threads, or"),
        (0, 32, "must be at least 1 everywhere"),
        ((1, 65536), 32, "grid (1, 65536, 1) is more than"),
        ((1, 1, 1, 1), 32, "one to three sizes"),
    ],
)
def test_a_launch_has_limits(fast, grid, block, message):
    assert message in refused(fast, "thread_index", fast.xp.zeros(1, np.int32), grid=grid, block=block)
