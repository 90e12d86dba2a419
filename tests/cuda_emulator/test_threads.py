"""Threads, blocks and the order in which they get their turn."""

import numpy as np
import pytest

from cuda_emulator.bench import MODES, ORDERS, Bench


def turns(bench: Bench, blocks: int = 4, threads: int = 64) -> np.ndarray:
    counter, turn_of = bench.xp.zeros(1, np.int32), bench.xp.empty((blocks, threads), np.int32)
    bench.launch("turn", counter, turn_of, grid=blocks, block=threads)
    return bench.xp.asnumpy(turn_of)


def test_every_thread_of_every_block_runs_once_with_its_own_index(bench):
    y = bench.xp.empty(3 * 2 * 2 * 4 * 3 * 2, np.int32)
    bench.launch("thread_index", y, grid=(3, 2, 2), block=(4, 3, 2))
    assert np.array_equal(bench.xp.asnumpy(y).reshape(12, 24), np.add.outer(1000 * np.arange(12), np.arange(24)))


def test_a_kernel_without_barriers_never_switches(fast):
    turns(fast)
    assert fast.kernel("turn").stats.switches == 0


@pytest.mark.parametrize("mode", MODES)
def test_forward_and_reverse_are_each_others_mirror(mode):
    forward = turns(Bench("mechanisms.cu", mode, "forward"))
    assert np.array_equal(forward.ravel(), np.arange(256))
    assert np.array_equal(turns(Bench("mechanisms.cu", mode, "reverse")).ravel(), np.arange(256)[::-1])


def test_shuffled_mixes_threads_within_a_block_and_the_blocks():
    given = turns(Bench("mechanisms.cu", "fast", "shuffled"), blocks=16)
    assert np.array_equal(np.sort(given, axis=None), np.arange(16 * 64))
    assert not np.array_equal(np.sort(given, axis=1), given)
    assert not np.array_equal(np.argsort(given[:, 0]), np.arange(16))
    # One block at a time: its turns are consecutive.
    assert np.array_equal(given.max(axis=1) - given.min(axis=1), np.full(16, 63))


def test_a_seed_repeats_and_launches_differ():
    first, again, other = (Bench("mechanisms.cu", "fast", "shuffled", seed=seed) for seed in (1, 1, 2))
    one, two = turns(first), turns(first)
    assert not np.array_equal(one, two)
    assert np.array_equal(one, turns(again))
    assert np.array_equal(two, turns(again))
    assert not np.array_equal(one, turns(other))


@pytest.mark.parametrize("order", ORDERS)
def test_threads_go_on_in_order_after_each_barrier(order):
    bench = Bench("mechanisms.cu", "fast", order)
    counter, turn_of = bench.xp.zeros(1, np.int32), bench.xp.empty((3, 96), np.int32)
    bench.launch("turns_after_barriers", counter, turn_of, np.int32(3), block=96)
    given = bench.xp.asnumpy(turn_of)
    assert np.array_equal(np.sort(given, axis=1), np.arange(3 * 96).reshape(3, 96))
    if order == "forward":
        assert np.array_equal(given.ravel(), np.arange(3 * 96))
    elif order == "reverse":
        assert np.array_equal(given, np.arange(3 * 96).reshape(3, 96)[:, ::-1])
    else:
        assert not np.array_equal(given[0], given[1] - 96)
