"""Where arrays are made and filled, and what captures a step."""

import numpy as np
import pytest

from backends.running import Backend
from cnn.backends import RandomKey, Window


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_an_empty_array_has_its_shape_and_type(backend: Backend, dtype):
    for shape in ((3, 5), (), (0, 4)):
        array = backend.ops.empty(shape, dtype)
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.flags.c_contiguous


def test_what_is_copied_in_stays_in_its_place(backend: Backend):
    """Whoever holds the array, or a part of it, sees the new values."""
    target = backend.ops.zeros((6,), backend.dtype)
    part = target[2:4]
    backend.ops.copy_in(target, np.arange(6))
    assert backend.ops.to_numpy(part).tolist() == [2, 3]
    backend.ops.copy_in(part, np.array([7.5, 8.5]))
    assert backend.ops.to_numpy(target).tolist() == [0, 1, 7.5, 8.5, 4, 5]


def test_what_overwrites_an_array_stays_apart_from_it(backend: Backend):
    target, source = backend.ops.zeros((6,), backend.dtype), backend.ops.array(np.arange(3.0).astype(backend.dtype))
    part = target[2:5]
    backend.ops.overwrite(part, source)
    backend.ops.copy_in(source, np.full(3, 9.0))
    assert backend.ops.to_numpy(target).tolist() == [0, 0, 0, 1, 2, 0]


@pytest.mark.parametrize(("channels", "groups", "stride"), [(3, 1, 1), (16, 1, 1), (16, 1, 2), (4, 4, 1)])
def test_another_gradient_is_added_to_that_of_a_convolutions_input(backend: Backend, rng, channels, groups, stride):
    """With the bits of a sum of its own."""
    ops, window = backend.ops, Window.over((6, 7), 3, stride, 1)
    filters = 2 * channels if groups == 1 else channels
    dy, w, other = (
        ops.array(rng.normal(size=shape).astype(backend.dtype))
        for shape in (
            (2, *window.output_hw, filters),
            (3, 3, channels // groups, filters),
            (2, 6, 7, channels),
        )
    )
    summed = ops.add(other, ops.conv2d_backward_input(dy, w, window, groups))
    given = ops.conv2d_backward_input(dy, w, window, groups, added=other)
    np.testing.assert_array_equal(ops.to_numpy(given), ops.to_numpy(summed))


def test_a_captured_step_reads_its_state_anew_each_time(backend: Backend, rng):
    """The clock, the learning rate and the random numbers of each call are those of the step that it is."""
    ops, images = backend.ops, 12
    order, labels = rng.permutation(images), rng.integers(5, size=images)
    rates = rng.uniform(size=(3, 1)).astype(np.float32)
    placed = [ops.array(values) for values in (order, rates, labels)]
    clock, rate = ops.array(np.array([40, 0, 0])), ops.array(np.zeros(1, np.float32))
    ones = ops.array(np.ones((4, 8), backend.dtype))

    def step():
        indices, _ = ops.next_batch(*placed, clock, rate, 4)
        return indices, ops.dropout(ones, 0.5, RandomKey(1, 2, clock))

    captured, seen, masks = ops.capture(step), [], []
    for number in range(3):
        chosen, dropped = captured()
        seen += np.array(ops.to_numpy(chosen)).tolist()
        masks.append(np.array(ops.to_numpy(dropped)).tobytes())
        assert np.array(ops.to_numpy(rate)) == rates[number]
        assert np.array(ops.to_numpy(clock)).tolist() == [41 + number, 1 + number, 4 + 4 * number]
        del chosen, dropped  # else recording takes more memory, as the first results are not free
    assert seen == order.tolist()
    assert len(set(masks)) == 3


def test_a_constant_and_its_results_do_not_outlive_it(backend: Backend, rng):
    """What a backend derives from a constant belongs to it, not to the next array at its address."""
    window, x = Window.over((6, 5), 3, 1, "same"), rng.normal(size=(2, 6, 5, 4)).astype(backend.dtype)
    placed = backend.ops.array(x)
    for _ in range(20):
        w = rng.normal(size=(3, 3, 4, 6)).astype(backend.dtype)
        constant = backend.ops.constant(w)
        first, again = (backend.ops.conv2d(placed, constant, None, window, 1) for _ in range(2))
        wanted = backend.ops.conv2d(placed, backend.ops.array(w), None, window, 1)
        np.testing.assert_array_equal(backend.ops.to_numpy(first), backend.ops.to_numpy(again))
        np.testing.assert_allclose(backend.ops.to_numpy(first), backend.ops.to_numpy(wanted), atol=1e-4)
        del constant
