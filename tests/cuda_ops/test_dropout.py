"""Dropout: which elements, or whole examples, are kept follows from the key alone, on the device."""

import numpy as np
import pytest

from backends.oracles import philox4x32_10
from cnn.backends import RandomKey

SEED, STREAM = 2**40 + 12345, 7


def halves(step: int, count: int) -> np.ndarray:
    """The stream's 16-bit numbers, by the paper's formulas."""
    words = [
        word
        for block in range(-(-count // 8))
        for word in philox4x32_10((block, STREAM, step % 2**32, step // 2**32), (SEED % 2**32, SEED // 2**32))
    ]
    return np.array([half for word in words for half in (word % 2**16, word // 2**16)][:count])


@pytest.mark.parametrize("count", [4100, 64, 5])
@pytest.mark.parametrize("step", [3, 2**33 + 1])
def test_keeps_what_the_generator_says(device, count, step, rng):
    x = rng.normal(size=count)
    clock = device.ops.array(np.array([step, 5, 6]))
    threshold = round(0.3 * 65536)
    expected = device.rounded(x) * (halves(step, count) >= threshold) * 65536 / (65536 - threshold)
    device.assert_close(device.ops.dropout(device.put(x), 0.3, RandomKey(SEED, STREAM, clock)), expected, 1e-7)


def test_the_step_is_read_on_the_device(cuda):
    """The same arrays and the same launch arguments: only the clock's content changes."""
    x, clock = cuda.array(np.ones(4000, np.float32)), cuda.array(np.array([1]))
    first = cuda.to_numpy(cuda.dropout(x, 0.5, RandomKey(1, 2, clock)))
    cuda.copy_in(clock, np.array([2]))
    second = cuda.to_numpy(cuda.dropout(x, 0.5, RandomKey(1, 2, clock)))
    cuda.copy_in(clock, np.array([1]))
    assert (first != second).mean() > 0.4
    np.testing.assert_array_equal(cuda.to_numpy(cuda.dropout(x, 0.5, RandomKey(1, 2, clock))), first)


def test_what_is_dropped_is_0_whatever_it_was(device):
    for count in (64, 67):
        y = device.get(
            device.ops.dropout(
                device.put(np.full(count, np.nan)), 0.5, RandomKey(1, 2, device.ops.array(np.array([3])))
            )
        )
        assert 0 < np.isnan(y).sum() < count
        assert not y[~np.isnan(y)].any()


@pytest.mark.parametrize("place", [17, 66], ids=["in a pack", "left over"])
def test_the_element_whose_number_is_the_threshold_is_kept(device, place):
    numbers = halves(3, 67)
    clock = device.ops.array(np.array([3]))
    y = device.get(device.ops.dropout(device.put(np.ones(67)), numbers[place] / 65536, RandomKey(SEED, STREAM, clock)))
    np.testing.assert_array_equal(y > 0, numbers >= numbers[place])


# --- whole examples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(19, 5, 3, 4), (17, 7), (1, 3), (9, 5000)], ids=str)
@pytest.mark.parametrize("step", [3, 2**33 + 1])
def test_keeps_the_examples_that_the_generator_says(device, shape, step, rng):
    x = rng.normal(size=shape)
    clock = device.ops.array(np.array([step, 5, 6]))
    threshold = round(0.4 * 65536)
    kept = (halves(step, len(x)) >= threshold).reshape(-1, *[1] * (x.ndim - 1))
    expected = device.rounded(x) * kept * 65536 / (65536 - threshold)
    device.assert_close(device.ops.drop_path(device.put(x), 0.4, RandomKey(SEED, STREAM, clock)), expected, 1e-7)


def test_the_step_of_dropped_examples_is_read_on_the_device(cuda):
    x, clock = cuda.array(np.ones((400, 3), np.float32)), cuda.array(np.array([1]))
    first = cuda.to_numpy(cuda.drop_path(x, 0.5, RandomKey(1, 2, clock)))
    cuda.copy_in(clock, np.array([2]))
    assert (first != cuda.to_numpy(cuda.drop_path(x, 0.5, RandomKey(1, 2, clock)))).mean() > 0.4


def test_a_dropped_example_is_0_whatever_it_was(device):
    key = RandomKey(1, 2, device.ops.array(np.array([3])))
    for size in (4, 7):
        y = device.get(device.ops.drop_path(device.put(np.full((64, size), np.nan)), 0.5, key))
        assert 0 < np.isnan(y).all(axis=1).sum() < 64
        assert not y[~np.isnan(y).all(axis=1)].any()


def test_the_example_whose_number_is_the_threshold_is_kept(device):
    numbers = halves(3, 19)
    key = RandomKey(SEED, STREAM, device.ops.array(np.array([3])))
    y = device.get(device.ops.drop_path(device.put(np.ones((19, 5))), numbers[17] / 65536, key))
    np.testing.assert_array_equal(y > 0, np.repeat(numbers >= numbers[17], 5).reshape(19, 5))
