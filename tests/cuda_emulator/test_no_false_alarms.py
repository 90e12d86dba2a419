"""Correct kernels that a careless checker would blame."""

import numpy as np

X = np.random.default_rng(6).standard_normal(4 * 64, dtype=np.float32)


def test_warps_with_tiles_of_their_own(bench):
    y = bench.xp.empty((128, 3), np.float32)
    bench.launch("warp_tiles", bench.xp.asarray(X[:128]), y, block=128)
    expected = X[:128].reshape(4, 32)[:, ::-1].reshape(128, 1) + np.arange(3, dtype=np.float32)
    assert np.array_equal(bench.xp.asnumpy(y), expected)


def test_half_warps_that_synchronise_on_their_own(bench):
    y = bench.xp.empty(32, np.float32)
    bench.launch("half_warp_tiles", bench.xp.asarray(X[:32]), y)
    assert np.array_equal(bench.xp.asnumpy(y), np.concatenate([X[15::-1], X[31:15:-1]]))


def test_double_buffering_with_one_barrier_for_each_tile(bench):
    y = bench.xp.empty(64, np.float32)
    bench.launch("double_buffer", bench.xp.asarray(X), y, np.int32(4), block=64)
    assert np.allclose(bench.xp.asnumpy(y), X.sum(), atol=1e-4)


def test_neighbouring_bytes_belong_to_different_threads(bench):
    x = np.arange(201, dtype=np.uint8)
    y = bench.xp.empty(201, np.uint8)
    bench.launch("copy_bytes", bench.xp.asarray(x), y, np.int32(201), block=64)
    assert np.array_equal(bench.xp.asnumpy(y), x + 1)


def test_blocks_read_what_an_earlier_launch_wrote(bench):
    xp = bench.xp
    first, second = xp.empty(201, np.uint8), xp.empty(201, np.uint8)
    bench.launch("copy_bytes", xp.zeros(201, np.uint8), first, np.int32(201), block=32)
    bench.launch("copy_bytes", first, second, np.int32(201), block=64)
    bench.launch("copy_bytes", second, first, np.int32(201), block=96)
    assert np.array_equal(xp.asnumpy(first), np.full(201, 3))


def test_an_empty_array_that_the_host_filled(bench):
    x, y = bench.xp.empty(64, np.uint8), bench.xp.empty(64, np.uint8)
    np.asarray(x)[:] = 7  # behind the emulator's back
    bench.launch("copy_bytes", x, y, np.int32(64), block=32)
    x.fill(255)  # looks like poison, but the emulator is told
    bench.launch("copy_bytes", x, y, np.int32(64), block=32)
    assert np.array_equal(bench.xp.asnumpy(y), np.zeros(64))
