"""Every backward operation in float64 against central finite differences of its forward."""

import numpy as np
import pytest

from backends.cases import CALLS, GRADIENT_TOLERANCE, GRADIENTS, Gradient, OpCall
from backends.finite_differences import directional_error, elementwise_error
from backends.running import to_backend

SMALL = 200  # elements, for one difference each


def checks(largest: float) -> list:
    """Every gradient of every smooth call, of arguments with at most `largest` elements."""
    found = []
    for call in CALLS:
        gradients = GRADIENTS.get(call.op, []) if call.smooth else []
        arguments = call.arguments("float64") if gradients else ()
        for gradient in gradients:
            x = arguments[gradient.argument]
            if x is not None and x.size <= largest:  # None: a convolution without bias
                found.append(pytest.param(call, gradient, id=f"{gradient.op}-{call.case}-argument{gradient.argument}"))
    return found


def prepare(ops, call: OpCall, gradient: Gradient):
    """The forward as a function of the argument, that argument, a random dy, and the gradient to check."""
    arguments = list(call.arguments("float64"))
    x = arguments[gradient.argument]

    def forward(value):
        placed = [to_backend(ops, a) for a in arguments]
        placed[gradient.argument] = ops.array(value)
        y = getattr(ops, call.op)(*placed, **call.options)
        return ops.to_numpy(y[0] if isinstance(y, tuple) else y)

    placed = [to_backend(ops, a) for a in arguments]
    y = getattr(ops, call.op)(*placed, **call.options)
    first = y[0] if isinstance(y, tuple) else y
    dy = np.random.default_rng(5).normal(size=first.shape)
    computed = ops.to_numpy(gradient.compute(ops, ops.array(dy), placed, y, **call.options))
    assert computed.shape == x.shape
    return forward, x, dy, computed


@pytest.mark.parametrize(("call", "gradient"), checks(np.inf))
def test_gradient_along_random_directions(ops, call, gradient):
    forward, x, dy, computed = prepare(ops, call, gradient)
    assert directional_error(forward, x, dy, computed, np.random.default_rng(6)) < GRADIENT_TOLERANCE


@pytest.mark.parametrize(("call", "gradient"), checks(SMALL))
def test_gradient_of_every_element(ops, call, gradient):
    forward, x, dy, computed = prepare(ops, call, gradient)
    assert elementwise_error(forward, x, dy, computed) < GRADIENT_TOLERANCE


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "elu"])
def test_gradient_at_zero_is_that_of_the_negative_side(ops, op):
    options = {"relu": (), "leaky_relu": (0.25,), "elu": (0.5,)}[op]
    dx = getattr(ops, f"{op}_backward")(np.array([3.0, 3.0]), np.array([0.0, -0.0]), *options)
    assert dx.tolist() == [3 * (options[0] if options else 0)] * 2


def test_relu_gradient_is_the_same_from_its_output(ops):
    x, dy = np.random.default_rng(0).normal(size=(2, 3, 4, 5)), np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    np.testing.assert_array_equal(ops.relu_backward(dy, ops.relu(x)), ops.relu_backward(dy, x))


def test_gradient_of_batch_norm_sums_to_zero_over_each_channel(ops):
    """Neither a constant added to a channel nor a factor on its deviations changes y when eps is zero."""
    rng = np.random.default_rng(3)
    x, dy, gamma = rng.normal(size=(4, 5, 3, 6)), rng.normal(size=(4, 5, 3, 6)), rng.normal(size=6)
    _, mean, variance = ops.batch_norm(x, gamma, np.zeros(6), 0.0)
    dx, _, _ = ops.batch_norm_backward(dy, x, gamma, mean, variance, 0.0)
    np.testing.assert_allclose(dx.sum(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose((dx * (x - mean)).sum(axis=(0, 1, 2)), 0, atol=1e-12)
