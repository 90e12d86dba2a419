"""Activations: their formulas, their slopes by finite differences, and numbers at the edges."""

import numpy as np
import pytest
from scipy import special

from cnn.backends import Activation

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
FUNCTIONS = {
    Activation("relu"): lambda x: (x + np.abs(x)) / 2,
    Activation("clip", 0.0, 6.0): lambda x: np.minimum(np.maximum(x, 0), 6),
    Activation("clip", -0.75, 0.3125): lambda x: np.minimum(np.maximum(x, -0.75), 0.3125),
    Activation("sigmoid"): special.expit,
    Activation("tanh"): np.tanh,
    Activation("leaky_relu", 0.1): lambda x: x - 0.9 * np.minimum(x, 0),
    Activation("elu", 0.7): lambda x: np.where(x > 0, x, 0.7 * (np.exp(np.minimum(x, 0)) - 1)),
    Activation("selu", ALPHA, SCALE): lambda x: SCALE * np.where(x > 0, x, ALPHA * (np.exp(np.minimum(x, 0)) - 1)),
    Activation("gelu"): lambda x: x * special.ndtr(x),
    Activation("silu"): lambda x: x * special.expit(x),
    Activation("mish"): lambda x: x * np.tanh(np.log(1 + np.exp(x))),
    Activation("softplus"): lambda x: np.log(1 + np.exp(x)),
    Activation("hard_swish"): lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,
}
every = pytest.mark.parametrize("activation", FUNCTIONS, ids=lambda a: f"{a.name}_{a.a}_{a.b}")
SIZES = (4096 + 7, 64, 5)  # packs and what is left over, packs alone, none


@every
def test_values(device, activation, rng):
    for size in SIZES:
        x = rng.uniform(-8, 8, size)
        expected = FUNCTIONS[activation](device.rounded(x))
        device.assert_close(device.ops.activation(device.put(x), activation), expected)


@every
def test_slopes(device, activation, rng):
    """Against central differences in float64, but for the points that lie on a kink."""
    function, reach = FUNCTIONS[activation], 1e-5
    for size in SIZES:
        x = rng.uniform(-8, 8, size)
        seen = device.rounded(x)
        bend = np.abs(function(seen + reach) - 2 * function(seen) + function(seen - reach))
        dy = np.where(bend > reach / 100, 0, rng.normal(size=size))
        assert np.count_nonzero(dy) > 0.9 * size
        slopes = (function(seen + reach) - function(seen - reach)) / (2 * reach)
        given = device.put(x)
        saved = device.ops.activation(given, activation) if activation.needs == "output" else given
        dx = device.ops.activation_backward(device.put(dy), saved, activation)
        # A rounded output says less about the slope: 1 - y loses what y = 1 - e has rounded away.
        coarse = device.storage == "bfloat16" and activation.name in ("sigmoid", "tanh")
        device.assert_close(dx, slopes * device.rounded(dy), 2e-2 if coarse else 3e-6)


@every
@pytest.mark.parametrize("count", [4, 3])
def test_nan_goes_on(device, activation, count):
    y = device.get(device.ops.activation(device.put(np.array([1, np.nan, -2, 7])[:count]), activation))
    assert np.isnan(y).tolist() == [False, True, False, False][:count]


FLAT = {
    Activation("relu"): [0.0, -1, -3e38],
    Activation("clip", 0.0, 6.0): [-1, 0, 6, 7],
    Activation("clip", -0.7, 0.3): [-5, -0.7, 0.3, 5],
    Activation("leaky_relu", 0.0): [-1, 0],
    Activation("elu", 1.0): [-1e4],
    Activation("selu", ALPHA, SCALE): [-1e4],
    Activation("gelu"): [-1e4],
    Activation("silu"): [-1e4],
    Activation("mish"): [-1e4],
    Activation("softplus"): [-1e4],
    Activation("sigmoid"): [-1e4, 1e4],
    Activation("tanh"): [-1e4, 1e4],
    Activation("hard_swish"): [-3, -4],
}


@pytest.mark.parametrize("activation", FLAT, ids=lambda a: f"{a.name}_{a.a}_{a.b}")
@pytest.mark.parametrize("dy", [np.inf, -np.inf])
def test_where_the_slope_is_0_an_infinite_gradient_is_0(device, activation, dy):
    x = device.put(np.array(FLAT[activation]))
    saved = device.ops.activation(x, activation) if activation.needs == "output" else x
    dx = device.ops.activation_backward(device.put(np.full(len(FLAT[activation]), dy)), saved, activation)
    assert device.get(dx).tolist() == [0] * len(FLAT[activation])


def test_far_from_zero_nothing_overflows(device):
    x = device.put(np.array([1e4, 89, -89, -1e4]))
    limits = {"sigmoid": [1, 1, 0, 0], "tanh": [1, 1, -1, -1], "hard_swish": [1e4, 89, 0, 0]}
    for name in ("silu", "gelu", "mish", "softplus", "sigmoid", "tanh", "hard_swish"):
        activation = Activation(name)
        expected = limits.get(name, [1e4, 89, 0, 0])
        np.testing.assert_allclose(device.get(device.ops.activation(x, activation)), expected, rtol=4e-3, atol=1e-30)
        slopes = device.get(
            device.ops.activation_backward(
                device.put(np.ones(4)),
                device.ops.activation(x, activation) if activation.needs == "output" else x,
                activation,
            )
        )
        flat = name in ("sigmoid", "tanh")
        np.testing.assert_allclose(slopes, [0, 0, 0, 0] if flat else [1, 1, 0, 0], atol=1e-30)


def test_small_numbers_keep_their_digits(cuda):
    x = np.array([-1e-2, -1e-4, -1e-6], np.float32)
    y = cuda.to_numpy(cuda.activation(cuda.array(x), Activation("elu", 0.7)))
    np.testing.assert_allclose(y, 0.7 * np.expm1(x.astype(float)), rtol=1e-6)
    low = np.array([-30, -60], np.float32)
    for name in ("softplus", "sigmoid"):
        y = cuda.to_numpy(cuda.activation(cuda.array(low), Activation(name)))
        np.testing.assert_allclose(y, np.exp(low.astype(float)), rtol=1e-6)
    y = cuda.to_numpy(cuda.activation(cuda.array(low), Activation("mish")))
    np.testing.assert_allclose(y, low * np.exp(low.astype(float)), rtol=1e-6)


# --- PReLU -----------------------------------------------------------------------------------------------------------

SHAPES = [(3, 5, 7, 4), (3, 5, 7, 3), (2100, 8), (1500, 5), (1, 300)]  # one chunk of rows and several, packs and not


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_prelu(device, shape, rng):
    x, dy, slope = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=shape[-1]).astype(np.float32)
    seen, given = device.rounded(x), device.rounded(dy)
    device.assert_close(
        device.ops.prelu(device.put(x), device.ops.array(slope)), np.maximum(seen, 0) + slope * np.minimum(seen, 0)
    )
    out = device.ops.zeros(slope.shape, np.float32)
    for target in (None, out):
        dx, dslope = device.ops.prelu_backward(device.put(dy), device.put(x), device.ops.array(slope), target)
        assert target is None or dslope is target
        device.assert_close(dx, given * np.where(seen > 0, 1, slope))
        device.assert_close(dslope, (given * np.minimum(seen, 0)).reshape(-1, shape[-1]).sum(axis=0))


def test_prelu_where_a_slope_is_0(device):
    x = device.put(np.array([[-1.0, 0, 2, 1], [-2, -0.0, 3, 1]]))
    dy = device.put(np.array([[np.inf, np.inf, 1, 1], [-np.inf, -np.inf, 1, 1]]))
    dx, dslope = device.ops.prelu_backward(dy, x, device.ops.zeros((4,), np.float32))
    assert device.get(dx).tolist() == [[0, 0, 1, 1]] * 2
    assert np.isnan(device.get(dslope)).tolist() == [True, False, False, False]  # inf * -1 - inf * -2
    assert device.get(dslope)[1:].tolist() == [0, 0, 0]
