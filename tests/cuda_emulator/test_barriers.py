"""Block-wide barriers and votes."""

import numpy as np
import pytest


@pytest.mark.parametrize("threads", [1, 31, 32, 100, 256])
def test_barriers_separate_reads_from_writes(bench, threads):
    x = np.arange(threads, dtype=np.float32)
    y = bench.xp.empty(threads, np.float32)
    bench.launch("rotate", bench.xp.asarray(x), y, np.int32(5), block=threads)
    assert np.array_equal(bench.xp.asnumpy(y), np.roll(x, -5))
    assert bench.kernel("rotate").stats.barriers == 10


@pytest.mark.parametrize(("values", "expected"), [([0] * 40, 0), ([9] * 40, 4011), ([0] * 39 + [9], 101)])
def test_votes_reach_every_thread(bench, values, expected):
    y = bench.xp.empty(40, np.int32)
    bench.launch("votes", bench.xp.asarray(np.array(values, np.int32)), y, block=40)
    assert np.array_equal(bench.xp.asnumpy(y), np.full(40, expected))


def test_a_launch_after_a_failed_one_starts_afresh(bugs):
    bench = bugs("fast", "forward")
    x, y = bench.xp.asarray(np.ones(32, np.float32)), bench.xp.empty(32, np.float32)
    with pytest.raises(Exception, match="deadlock"):
        bench.launch("deadlock", x, y)
    bench.launch("output_not_written", x, y)
    assert np.array_equal(bench.xp.asnumpy(y), np.ones(32))
