"""Winograd's transforms against the definition of a convolution."""

import numpy as np
import pytest
from scipy.signal import correlate2d

from backends.conftest import cpu_ops
from cnn.backends import NumpyOps, Window
from cnn.backends.numpy_ops.winograd import kron, transforms


@pytest.mark.parametrize("m", [2, 4])
def test_the_bilinear_form_is_a_convolution(m, rng):
    t, x, w = transforms(m), rng.normal(size=(m + 2, m + 2)), rng.normal(size=(3, 3))
    y = t.a.T @ ((t.b.T @ x @ t.b) * (t.g @ w @ t.g.T)) @ t.a
    np.testing.assert_allclose(y, correlate2d(x, w, "valid"), atol=1e-13)


@pytest.mark.parametrize("m", [2, 4])
def test_the_same_form_gives_the_filters_gradient(m, rng):
    t, x, dy = transforms(m), rng.normal(size=(m + 2, m + 2)), rng.normal(size=(m, m))
    dw = t.g.T @ ((t.b.T @ x @ t.b) * (t.a @ dy @ t.a.T)) @ t.g
    np.testing.assert_allclose(dw, correlate2d(x, dy, "valid"), atol=1e-13)


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("name", ["input", "filter", "output", "gradient", "filter_gradient"])
def test_a_transform_of_both_sides_is_one_matrix(m, name, rng):
    t = transforms(m)
    one = {"input": t.b.T, "filter": t.g, "output": t.a.T, "gradient": t.a, "filter_gradient": t.g.T}[name]
    x = rng.normal(size=(one.shape[1], one.shape[1]))
    np.testing.assert_allclose(kron(m, name, "float64") @ x.reshape(-1), (one @ x @ one.T).reshape(-1), atol=1e-12)


@pytest.mark.parametrize("kind", ["plain", "compiled"])
@pytest.mark.parametrize(("m", "bound"), [(2, 2e-6), (4, 6e-6)])
def test_the_error_of_a_wide_layer_stays_small(kind, m, bound, rng):
    """In float32, 256 channels, as a share of the largest value: the definition's own error is about 4e-7."""
    x, w = rng.normal(size=(2, 12, 12, 256)), rng.normal(size=(3, 3, 256, 64))
    dy = rng.normal(size=(2, 12, 12, 64))
    window = Window.over((12, 12), 3, 1, "same")
    exact, ops = NumpyOps(1, "im2col"), cpu_ops(kind, 1, f"winograd{m}")
    narrow = [array.astype(np.float32) for array in (x, w, dy)]
    wide = [array.astype(np.float64) for array in narrow]
    for operation, first, second in (
        ("conv2d", 0, 1),
        ("conv2d_backward_input", 2, 1),
        ("conv2d_backward_filter", 2, 0),
    ):
        bias = (None,) if operation == "conv2d" else ()
        expected = getattr(exact, operation)(wide[first], wide[second], *bias, window, 1)
        actual = getattr(ops, operation)(narrow[first], narrow[second], *bias, window, 1)
        assert np.abs(actual - expected).max() <= bound * np.abs(expected).max()


@pytest.mark.parametrize("convolution", ["im2col", "shifted", "winograd2", "winograd4"])
@pytest.mark.parametrize(("batch", "side", "channels", "filters"), [(1, 80, 24, 40), (9, 26, 130, 7), (2, 5, 3, 150)])
def test_pieces_of_large_and_small_batches_fit_together(convolution, batch, side, channels, filters, rng):
    """Shapes that are cut by rows, by images, and not at all, for compiled passes that take 128 channels at a time."""
    x = rng.normal(size=(batch, side, side + 1, channels)).astype(np.float32)
    w = rng.normal(size=(3, 3, channels, filters)).astype(np.float32)
    window = Window.over((side, side + 1), 3, 1, (1, 0, 2, 1))
    expected = NumpyOps(1, "im2col").conv2d(x.astype(np.float64), w.astype(np.float64), None, window, 1)
    for kind in ("plain", "compiled"):
        actual = cpu_ops(kind, 2, convolution).conv2d(x, w, None, window, 1)
        assert np.abs(actual - expected).max() <= 5e-6 * np.abs(expected).max()
