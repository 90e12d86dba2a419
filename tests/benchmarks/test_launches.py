from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernels.dry_run import DryRun
from benchmarks.kernels.launches import READ_IN_PART, UPDATED, count_launches, product_flops
from cnn.backends import Activation, RandomKey
from cnn.backends.cuda import CudaOps
from cnn.kernels import KERNELS


@pytest.fixture
def ops() -> CudaOps:
    return CudaOps(DryRun(), device="dry run")


def arrays(ops, *shapes):
    return [ops.empty(shape, np.float32) for shape in shapes]


def only(counts):
    ((work, calls),) = counts.items()
    return work, calls


def test_every_array_counts_once(ops):
    a, b = arrays(ops, (3, 5), (3, 5))
    work, calls = only(count_launches(ops, lambda: [ops.add(a, b), ops.add(b, a)]))
    assert (work.name, work.moved, work.flops, calls) == ("add", 3 * 3 * 5 * 4, 15, 2)
    assert work.shapes() == "a, b, y 3×5"


def test_what_is_updated_counts_twice(ops):
    w, dw = arrays(ops, (10,), (10,))
    work, _ = only(count_launches(ops, lambda: ops.l2_penalty_backward(w, 0.1, dw)))
    assert work.moved == (1 + 2) * 10 * 4


def test_an_absent_array_moves_nothing(ops):
    x, w, b = arrays(ops, (4, 7), (7, 5), (5,))
    without, _ = only(count_launches(ops, lambda: ops.dense(x, w, None)))
    with_bias, _ = only(count_launches(ops, lambda: ops.dense(x, w, b)))
    assert without.moved == 4 * (4 * 7 + 7 * 5 + 4 * 5)
    assert with_bias.moved == without.moved + 4 * 5
    assert without.flops == 2 * 4 * 7 * 5
    assert without != with_bias


def test_an_optimizer_reads_and_writes_parameters_and_moments(ops):
    given = arrays(ops, (10,), (10,), (10,), (10,))
    state = {name: ops.zeros((1,), np.float32) for name in ("learning_rate", "beta1")}
    state["clock"] = ops.zeros((3,), np.int64)
    numbers = {"beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
    work, _ = only(count_launches(ops, lambda: ops.adam_update(*given, **state, **numbers)))
    assert work.moved == 7 * 4 * 10 + 2 * 4 + 3 * 8


def test_a_batch_is_not_the_data_set(ops):
    images = ops.array(np.zeros((1000, 8, 8, 1), np.uint8))
    moves = (np.zeros((2, 2, 3), np.float32), np.zeros((2, 4), np.int32), np.ones((2, 2), np.float32))
    others = (np.zeros(2, np.int64), *moves)
    numbers = (np.ones(1, np.float32), np.zeros(1, np.float32))
    given = [ops.array(each) for each in (*others, *numbers)]
    work, _ = only(count_launches(ops, lambda: ops.gather_batch(images, *given)))
    assert work.moved == 2 * 64 * (1 + 4) + sum(each.nbytes for each in given)


def test_equal_work_is_one_launch_whatever_the_numbers(ops):
    """Neither a random key nor a float changes what a launch costs."""
    (x,), step = arrays(ops, (16, 16)), ops.zeros((1,), np.int64)
    counts = count_launches(ops, lambda: [ops.dropout(x, 0.5, RandomKey(seed, 1, step)) for seed in (3, 4)])
    assert list(counts.values()) == [2]
    slopes = count_launches(ops, lambda: [ops.activation(x, Activation("leaky_relu", a)) for a in (0.1, 0.2)])
    assert list(slopes.values()) == [2]


def test_the_observer_leaves_when_a_step_fails(ops):
    def fail():
        raise RuntimeError("step")

    with pytest.raises(RuntimeError, match="step"):
        count_launches(ops, fail)
    assert ops.launch.observe is None


def test_the_exceptions_are_about_kernels_that_there_are():
    for kernel, argument in (*READ_IN_PART, *UPDATED):
        (found,) = [a for a in KERNELS[kernel].arguments if a.name == argument]
        assert found.pointer
        assert found.const == ((kernel, argument) in READ_IN_PART)


def test_products_add_up():
    ops = CudaOps(DryRun())
    x, w = arrays(ops, (4, 7), (7, 5))
    counts = count_launches(
        ops, lambda: [ops.dense(x, w, None), ops.dense(x, w, None), ops.activation(x, Activation("relu"))]
    )
    assert product_flops(counts, ["dense_forward"]) == 2 * 2 * 4 * 7 * 5
