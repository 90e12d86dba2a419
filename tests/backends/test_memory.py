"""Memory that is used again."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")

from backends.conftest import cpu_ops
from cnn.backends.cpu.memory import Pool
from cnn.models import build_model

LARGE = 1 << 20


@pytest.fixture
def pool():
    return Pool()


def address(array) -> int:
    return array.__array_interface__["data"][0]


def test_an_array_that_nobody_holds_leaves_its_memory_to_the_next_of_its_size(pool):
    first = pool.empty((LARGE,), np.uint8)
    where = address(first)
    del first
    assert address(pool.empty((LARGE // 4,), np.float32)) == where
    assert pool.fresh == 1


def test_a_view_keeps_the_memory_from_others(pool):
    array = pool.empty((4, LARGE), np.float32)
    array[...] = 7
    view = array[1:].reshape(-1)[5:]
    del array
    other = pool.empty((4, LARGE), np.float32)
    other[...] = 8
    assert (view == 7).all()
    assert pool.fresh == 2


def test_arrays_in_use_share_no_bytes_and_are_aligned(pool):
    arrays = [pool.empty((size,), np.float32) for size in (LARGE, LARGE, LARGE + 3, 5000, 3)]
    for number, array in enumerate(arrays):
        assert array.flags.c_contiguous
        assert array.flags.writeable
        array[...] = number
    assert all((array == number).all() for number, array in enumerate(arrays))
    assert all(address(array) % 64 == 0 for array in arrays[:4])


def test_a_somewhat_larger_block_serves_and_a_much_larger_one_does_not(pool):
    pool.empty((LARGE,), np.uint8)
    pool.empty((int(0.9 * LARGE),), np.uint8)
    assert pool.fresh == 1
    pool.empty((LARGE // 2,), np.uint8)
    assert pool.fresh == 2


def test_what_lies_free_is_bounded_by_what_was_in_use(pool):
    for size in range(1, 40):  # ever larger, so that nothing that lies free fits
        pool.empty((size * LARGE,), np.uint8)
    assert pool.in_use <= 40 * LARGE
    assert pool.spare <= max(pool.most_in_use, 32 << 20) + 40 * LARGE


def test_zeros_are_zero_in_memory_that_was_used(pool):
    pool.empty((LARGE,), np.float32)[...] = 3
    assert not pool.zeros((LARGE,), np.float32).any()


@pytest.mark.parametrize("norm", ["batch_norm", "relu"])
def test_a_steady_training_step_makes_no_new_blocks(norm):
    ops = cpu_ops(1)
    layers = [{"conv2d": {"filters": 24}}, norm, {"max_pool2d": 2}, {"conv2d": {"filters": 40}}, {"dropout": 0.2}]
    model = build_model(
        {"name": "m", "layers": [*layers, "flatten", {"dense": "classes"}]}, ops, (24, 24, 3), 5, seed=0
    )
    x, dlogits = np.ones((16, 24, 24, 3), np.float32), np.ones((16, 5), np.float32)
    fresh = []
    for step in range(6):
        _, saved = model.forward(x, True, np.array([step]))
        model.backward(saved, dlogits)
        del saved
        fresh.append(ops.memory.fresh)
    assert fresh[0] > 0
    assert fresh[2:] == [fresh[2]] * 4
