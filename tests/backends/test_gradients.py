"""Every gradient of the reference, in float64, against central finite differences of its forward pass."""

import numpy as np
import pytest

from backends.cases import GRADIENT_TOLERANCE
from backends.cases.gradients import GRADIENTS, Gradient, look, put
from backends.finite_differences import directional_error
from cnn.backends import Activation, Ops

OPS = Ops()


@pytest.mark.parametrize("gradient", GRADIENTS, ids=lambda gradient: gradient.name)
def test_gradient_along_random_directions(gradient: Gradient):
    arguments = gradient.arguments()
    x = look(arguments, gradient.at)

    def forward(value):
        return gradient.forward(OPS, *put(arguments, gradient.at, value))

    dy = np.random.default_rng(5).normal(size=forward(x).shape)
    computed = gradient.compute(OPS, dy, *arguments)
    assert computed.shape == x.shape
    assert directional_error(forward, x, dy, computed, np.random.default_rng(6)) < GRADIENT_TOLERANCE


@pytest.mark.parametrize("activation", [Activation("relu"), Activation("leaky_relu", 0.25), Activation("elu", 0.5)])
def test_gradient_at_zero_is_that_of_the_negative_side(activation):
    dx = OPS.activation_backward(np.array([3.0, 3.0]), np.array([0.0, -0.0]), activation)
    assert dx.tolist() == [3 * activation.a] * 2


def test_gradient_of_batch_norm_sums_to_zero_over_each_channel():
    """Neither a constant added to a channel nor a factor on its deviations changes y when eps is zero."""
    rng = np.random.default_rng(3)
    x, dy, gamma = rng.normal(size=(4, 5, 3, 6)), rng.normal(size=(4, 5, 3, 6)), rng.normal(size=6)
    moments = OPS.moments(x)
    dx, _, _ = OPS.normalize_backward(dy, x, gamma, moments, 0.0, True)
    np.testing.assert_allclose(dx.sum(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose((dx * (x - moments[0])).sum(axis=(0, 1, 2)), 0, atol=1e-12)
