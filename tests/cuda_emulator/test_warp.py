"""Shuffles, ballots and reductions of a warp."""

import numpy as np

LANES = np.arange(64)
LANE, FIRST = LANES % 32, LANES // 32 * 32


def values() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 100, 64, dtype=np.int32)


def test_shuffles_take_the_right_lane(bench):
    x = values()
    y = bench.xp.empty((6, 64), np.int32)
    bench.launch("shuffles", bench.xp.asarray(x), y, block=64)
    expected = [
        x[FIRST + 5],
        x[LANES // 8 * 8 + 3],
        x[np.where(LANE >= 2, LANES - 2, LANES)],
        x[np.where(LANE % 16 + 3 < 16, LANES + 3, LANES)],
        x[FIRST + (LANE ^ 9)],
        2 * x[LANES ^ 1] + 1,
    ]
    assert np.array_equal(bench.xp.asnumpy(y), expected)


def test_the_halves_of_a_warp_may_go_separate_ways(bench):
    x = values()
    y = bench.xp.empty(64, np.int32)
    bench.launch("half_warps", bench.xp.asarray(x), y, block=64)
    halves = x.reshape(2, 2, 16)
    expected = np.stack([halves[:, 0].sum(axis=1), halves[:, 1].max(axis=1)], axis=1)
    assert np.array_equal(bench.xp.asnumpy(y).reshape(2, 2, 16), np.repeat(expected[:, :, None], 16, axis=2))


def test_ballots_and_reductions_see_every_lane(bench):
    x = values()
    x[32:] += 4
    y = bench.xp.empty((8, 64), np.uint32)
    bench.launch("ballots", bench.xp.asarray(x), y, block=64)
    expected = np.empty((8, 64), np.uint32)
    for first in (0, 32):
        warp = x[first : first + 32]
        ballot = sum(1 << lane for lane in range(32) if warp[lane] > 3)
        rows = [
            *(ballot, ballot != 0, (warp > 3).all(), 0xFFFFFFFF),
            *(warp.sum(), warp.max(), warp.min(), np.bitwise_xor.reduce(warp)),
        ]
        expected[:, first : first + 32] = np.array(rows, np.uint32)[:, None]
    assert np.array_equal(bench.xp.asnumpy(y), expected)


def test_lanes_that_ended_are_not_waited_for(bench):
    y = bench.xp.empty(20, np.int32)
    bench.launch("lanes_after_exit", y, block=32)
    assert np.array_equal(bench.xp.asnumpy(y), np.full(20, 2020))
