"""Atomic operations, and what they order."""

import numpy as np


def test_every_operation(bench):
    xp = bench.xp
    ints = xp.asarray(np.array([0, 0, 0, 0, 255, 0, 0, 3, 0, 0], np.int32))
    wraps, real, wide = xp.zeros(2, np.uint32), xp.zeros(1, np.float32), xp.zeros(1, np.uint64)
    bench.launch("atomics", ints, wraps, real, wide, block=64)
    result = xp.asnumpy(ints)
    assert result[:9].tolist() == [64 * 63 // 2, -64, -63, 63, 0, 255, 0, 5, 3]
    assert 1 <= result[9] <= 64
    assert xp.asnumpy(wraps).tolist() == [64 % 10, (-64) % 10]
    assert (real[0], wide[0]) == (32.0, 64 * 2**33)


def test_a_histogram_in_shared_and_global_memory(bench):
    x = np.random.default_rng(2).integers(0, 16, 1000, dtype=np.int32)
    bins = bench.xp.zeros(16, np.int32)
    bench.launch("histogram", bench.xp.asarray(x), bins, np.int32(1000), grid=3, block=64)
    assert np.array_equal(bench.xp.asnumpy(bins), np.bincount(x, minlength=16))


def test_the_last_block_may_read_what_all_have_written(bench):
    x = np.random.default_rng(4).standard_normal(512, dtype=np.float32)
    xp = bench.xp
    y = xp.empty(1, np.float32)
    bench.launch("last_block", xp.asarray(x), xp.empty(4, np.float32), xp.zeros(1, np.uint32), y, grid=4, block=128)
    assert np.allclose(xp.asnumpy(y), x.sum(), atol=1e-4)
