"""Winograd's transforms against the definition of a convolution."""

import numpy as np
import pytest
from scipy.signal import correlate2d

pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")

from backends.conftest import cpu_ops
from cnn.backends import CONVOLUTIONS, Ops, Window
from cnn.backends.cpu import conv_primitives as primitives
from cnn.backends.cpu.vectors import TILES
from cnn.backends.cpu.winograd import transforms


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


@pytest.mark.parametrize(("m", "bound"), [(2, 2e-6), (4, 6e-6)])
def test_the_error_of_a_wide_layer_stays_small(m, bound, rng):
    """In float32, 256 channels, as a fraction of the largest value: the definition's own error is about 4e-7."""
    x, w = rng.normal(size=(2, 12, 12, 256)), rng.normal(size=(3, 3, 256, 64))
    dy = rng.normal(size=(2, 12, 12, 64))
    window = Window.over((12, 12), 3, 1, "same")
    exact, ops = Ops(), cpu_ops(1, f"winograd{m}")
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


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize(("batch", "side", "channels", "filters"), [(1, 80, 24, 40), (9, 26, 130, 7), (2, 5, 3, 150)])
def test_chunks_of_large_and_small_batches_fit_together(convolution, batch, side, channels, filters, rng):
    """Shapes that are cut by rows, by images, and not at all, for compiled passes that take 128 channels at a time."""
    x = rng.normal(size=(batch, side, side + 1, channels)).astype(np.float32)
    w = rng.normal(size=(3, 3, channels, filters)).astype(np.float32)
    window = Window.over((side, side + 1), 3, 1, (1, 0, 2, 1))
    expected = Ops().conv2d(x.astype(np.float64), w.astype(np.float64), None, window, 1)
    actual = cpu_ops(2, convolution).conv2d(x, w, None, window, 1)
    assert np.abs(actual - expected).max() <= 5e-6 * np.abs(expected).max()


@pytest.mark.parametrize("tile", sorted(TILES))
@pytest.mark.parametrize("m", [2, 4])
def test_every_processors_tile_packs_the_transformed_filter(m, tile, rng, monkeypatch):
    """Widths that fill no block of columns, with the filter as it is and flipped."""
    monkeypatch.setattr(primitives, "host_tile", lambda: TILES[tile])
    ops, window = cpu_ops(2, f"winograd{m}"), Window.over((7, 6), 3, 1, "same")
    for batch, channels, filters in ((1, 35, 20), (70, 9, 33)):
        x, w, dy = (
            rng.normal(size=shape).astype(np.float32)
            for shape in ((batch, 7, 6, channels), (3, 3, channels, filters), (batch, 7, 6, filters))
        )
        wide = [array.astype(np.float64) for array in (x, w, dy)]
        for actual, expected in (
            (ops.conv2d(x, w, None, window, 1), Ops().conv2d(wide[0], wide[1], None, window, 1)),
            (ops.conv2d_backward_input(dy, w, window, 1), Ops().conv2d_backward_input(wide[2], wide[1], window, 1)),
            (ops.conv2d_backward_filter(dy, x, window, 1), Ops().conv2d_backward_filter(wide[2], wide[0], window, 1)),
        ):
            assert np.abs(actual - expected).max() <= 5e-6 * np.abs(expected).max()


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize(("convolution", "batch"), [("winograd2", 1), ("winograd4", 1), ("winograd4", 40)])
def test_what_is_not_finite_reaches_what_sees_it_and_nothing_else(convolution, batch, value, constant, rng):
    """A tile's transform mixes all its pixels, so a result that is not finite is computed again by the definition."""
    ops, window = cpu_ops(2, convolution), Window.over((12, 12), 3, 1, "same")
    x, w = rng.normal(size=(batch, 12, 12, 5)), rng.normal(size=(3, 3, 5, 20))
    x[-1, 6, 3, 2] = value
    narrow = [x.astype(np.float32), ops.constant(w.astype(np.float32)) if constant else w.astype(np.float32)]
    with np.errstate(invalid="ignore", over="ignore"):
        expected = Ops().conv2d(x.astype(np.float32), w.astype(np.float32), None, window, 1)
    actual = ops.conv2d(*narrow, None, window, 1)
    np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(expected))
    finite = np.isfinite(expected)
    seen = np.zeros((12, 12), bool)
    seen[5:8, 2:5] = True
    assert np.isfinite(expected[:, ~seen]).all()
    np.testing.assert_allclose(actual[:, ~seen], expected[:, ~seen], atol=2e-5)
    np.testing.assert_allclose(actual[finite], expected[finite], rtol=1e-4, atol=2e-5)
