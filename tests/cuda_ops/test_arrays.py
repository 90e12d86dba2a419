"""Arrays on the device, and what rounding to bfloat16 does."""

import numpy as np
import pytest

from cnn.backends import Activation


def as_float(bits):
    return np.array(bits, np.uint32).view(np.float32)


def test_rounds_to_the_nearest_bfloat16_and_ties_to_even(cuda):
    cases = {
        0x3F800000: 0x3F80,  # 1
        0x3F807FFF: 0x3F80,  # just below the middle
        0x3F808000: 0x3F80,  # the middle, to even: down
        0x3F818000: 0x3F82,  # the middle, to even: up
        0x3F808001: 0x3F81,  # just above the middle
        0xBF818000: 0xBF82,
        0x80000000: 0x8000,  # -0
        0x7F7FFFFF: 0x7F80,  # the largest float becomes infinite
        0xFF800000: 0xFF80,
        0x00808000: 0x0080,
    }
    words = cuda.stored(cuda.array(as_float(list(cases))), "bfloat16")
    assert words.dtype == np.uint16
    assert cuda.xp.asnumpy(words).tolist() == list(cases.values())
    assert cuda.to_numpy(words).view(np.uint32).tolist() == [word << 16 for word in cases.values()]


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0xFF80FFFF], ids=hex)
def test_nan_stays_nan(cuda, bits):
    for count in (1, 8):  # on its own, and in a pack
        assert np.isnan(cuda.to_numpy(cuda.stored(cuda.array(as_float([bits] * count)), "bfloat16"))).all()


def test_an_array_that_is_stored_so_already_is_itself(cuda, rng):
    x = cuda.array(rng.normal(size=37).astype(np.float32))
    words = cuda.stored(x, "bfloat16")
    assert cuda.stored(x, "float32") is x
    assert cuda.stored(words, "bfloat16") is words
    assert cuda.to_numpy(cuda.stored(words, "float32")).tobytes() == cuda.to_numpy(words).tobytes()


def test_rounding_errs_by_half_a_unit_of_eight_bits(cuda, rng):
    x = (rng.normal(size=5001) * 10.0 ** rng.integers(-30, 30, 5001)).astype(np.float32)
    error = np.abs(cuda.to_numpy(cuda.stored(cuda.array(x), "bfloat16")) / x.astype(float) - 1)
    assert 2.0**-9 < error.max() <= 2.0**-8


def test_values_are_copied_into_an_array_that_stays(cuda):
    target = cuda.zeros((2, 3), np.float32)
    cuda.copy_in(target, np.arange(6, dtype=np.float64).reshape(2, 3))
    assert cuda.to_numpy(target).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert cuda.to_numpy(cuda.activation(target, Activation("relu"))).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises((TypeError, ValueError)):
        cuda.copy_in(target, np.zeros((3, 2)))


def test_activations_of_another_type_are_refused(cuda):
    x = cuda.array(np.zeros(3))
    with pytest.raises(TypeError, match=r"^kernel relu takes activations of float or bfloat16, not float64$"):
        cuda.activation(x, Activation("relu"))
    with pytest.raises(TypeError, match="must be uint16, not float32"):
        cuda.add(cuda.stored(cuda.array(np.zeros(3, np.float32)), "bfloat16"), cuda.array(np.zeros(3, np.float32)))
