"""Guarded arrays: how they look to the host, where they lie, when they go."""

import gc

import numpy as np
import pytest

from cuda_emulator import Emulator, EmulatorError
from cuda_emulator.bench import Bench
from cuda_emulator.runtime_library import runtime


@pytest.fixture
def xp() -> Emulator:
    return Emulator()


def test_it_looks_like_an_array_of_cupy(xp):
    x = xp.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    assert isinstance(x, xp.ndarray)
    assert not isinstance(np.zeros(3), xp.ndarray)
    assert (x.shape, x.dtype, x.size, x.nbytes, x.ndim) == ((3, 4), np.float32, 12, 48, 2)
    assert x.flags.c_contiguous
    assert not x.T.flags.c_contiguous
    assert x.device == xp.cuda.Device()
    assert x.reshape(-1)[4:].data.ptr == x.data.ptr + 16
    assert x.data.ptr % 16 == 0
    assert isinstance(x.reshape(2, 6), xp.ndarray)


def test_copies_go_both_ways(xp):
    host = np.arange(6).reshape(2, 3).T
    device = xp.asarray(host)
    assert np.array_equal(device, host)
    back = xp.asnumpy(device)
    assert type(back) is np.ndarray
    back[0, 0] = 99
    assert device[0, 0] == 0
    assert xp.asarray(device) is device


def test_fresh_arrays_are_poison_or_zero(xp):
    assert np.isnan(xp.empty((3, 5), np.float32)).all()
    assert (xp.empty(3, np.int32) == -1).all()
    for _ in range(40):  # memory that was used before
        assert not xp.zeros((7, 9), np.float32).any()
        xp.empty((7, 9), np.float32)
    assert xp.zeros((0, 4), np.float32).shape == (0, 4)


def test_matmul_writes_where_it_is_told(xp):
    a, b = xp.asarray(np.eye(3, dtype=np.float32)), xp.asarray(np.full((3, 2), 2, np.float32))
    out = xp.empty((3, 2), np.float32)
    assert xp.matmul(a, b, out=out) is out
    assert np.array_equal(out, b)
    assert isinstance(xp.matmul(a, b), xp.ndarray)


def test_memory_goes_with_the_last_view(xp):
    gc.collect()
    before = runtime().emulator_live_regions()
    view = xp.zeros((4, 4), np.float32)[1:].reshape(-1)
    assert runtime().emulator_live_regions() == before + 1
    view += 1
    del view
    assert runtime().emulator_live_regions() == before


def test_the_host_computes_with_arrays_and_kernels_take_the_results(fast):
    xp = fast.xp
    x = xp.asarray(np.arange(64, dtype=np.uint8))
    total = x + x  # in ordinary memory
    assert isinstance(total, xp.ndarray)
    y = total * 0
    fast.launch("copy_bytes", total, y, np.int32(64))
    assert np.array_equal(y, 2 * np.arange(64) + 1)
    fast.launch("copy_bytes", y, y, np.int32(64))  # both arguments are one array
    assert np.array_equal(y, 2 * np.arange(64) + 2)
    with pytest.raises(EmulatorError, match="overlapping views of an array in ordinary memory"):
        fast.launch("copy_bytes", y[1:], y[:-1], np.int32(8))


@pytest.mark.parametrize(
    ("guard", "kernel", "offset"), [("end", "read_past_end", 512), ("start", "read_before_start", -4)]
)
def test_either_end_lies_against_a_guard(guard, kernel, offset):
    bench = Bench("planted_bugs.cu", "fast", "forward", guard=guard)
    x, y = bench.xp.zeros(128, np.float32), bench.xp.empty(128, np.float32)
    with pytest.raises(EmulatorError, match=rf"read at byte offset {offset} of argument 0 \(x\)"):
        bench.launch(kernel, x, y, block=128)


def test_an_index_off_by_a_row_of_pages_faults_too(fast):
    x, y = fast.xp.zeros(64, np.uint8), fast.xp.zeros(64, np.uint8)
    with pytest.raises(EmulatorError, match="out of bounds: read at byte offset 64 of argument 0"):
        fast.launch("copy_bytes", x, fast.xp.zeros(70000, np.uint8), np.int32(70000), block=1)
    fast.launch("copy_bytes", x, y, np.int32(64))


def test_bytes_beside_an_array_are_blamed_on_one_launch_only(bugs):
    bench = bugs("fast", "forward")
    x, y = bench.xp.zeros(128, np.float32), bench.xp.zeros(128, np.float32)
    with pytest.raises(EmulatorError, match="bytes before the start of argument 1"):
        bench.launch("write_before_start", x, y, block=128)
    bench.launch("output_not_written", x, y, block=128)


def test_an_array_passed_twice_may_be_written(bench):
    x = bench.xp.asarray(np.arange(64, dtype=np.uint8))
    bench.launch("copy_bytes", x, x, np.int32(64))
    assert np.array_equal(bench.xp.asnumpy(x), np.arange(64) + 1)


def test_the_host_may_write_a_const_argument_after_the_launch(bench):
    x, y = bench.xp.zeros(64, np.uint8), bench.xp.empty(64, np.uint8)
    bench.launch("copy_bytes", x, y, np.int32(64))
    x[...] = 5
    bench.launch("copy_bytes", x, y, np.int32(64))
    assert (bench.xp.asnumpy(y) == 6).all()


def test_an_array_takes_over_a_host_array_of_its_own_kind(bench):
    x, y = bench.xp.empty(64, np.uint8), bench.xp.empty(64, np.uint8)
    x.set(np.full(64, 7, np.uint8))
    bench.launch("copy_bytes", x, y, np.int32(64))
    assert (bench.xp.asnumpy(y) == 8).all()
    for wrong in (np.zeros(64, np.int32), np.zeros(63, np.uint8), bench.xp.zeros(64, np.uint8), 7):
        with pytest.raises(TypeError, match="needs a NumPy array of uint8"):
            x.set(wrong)
