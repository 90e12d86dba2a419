"""Every tile of the products by tensor cores, unsplit and in parts, in every order of threads.

Operands are small whole numbers: their sums are exact in float32, in any order.
"""

import numpy as np
import pytest

from backends.cases import ConvCase
from cnn.backends import Activation, Epilogue, Ops
from cnn.backends.reference.arrays import round_to_bfloat16
from cnn.kernels.families.tensor_plan import BACKWARD_FILTER
from cnn.kernels.families.tensor_rules import GATHER_TILES, WGRAD_TILES, gather_step
from cuda_ops.conftest import emulated

# The emulator's mode, its order of threads, and the number of parts.
WAYS = pytest.mark.parametrize(("setting", "splits"), [(("fast", "shuffled"), 3), (("checked", "shuffled"), 1)])


def gather_cases(tile) -> list[ConvCase]:
    """Rows that fill no tile; channels and filters that do only where they must, and steps of the tile's length."""
    if tile.fits:
        hw = (13, 11) if tile.m > 128 else (9, 8)  # a little more than one tile
        return [
            ConvCase("fits", n=2, hw=hw, channels=tile.n, filters=tile.n, kernel=(2, 3)),
            ConvCase("fits_1x1", n=2, hw=(5, 7), channels=tile.n, filters=tile.n, kernel=1),  # fewer steps than stages
        ]
    channels = 104 if tile.k == 64 else 72 if tile.element == "bfloat16" else 60
    return [
        ConvCase("any", n=2, hw=(9, 8), channels=channels, filters=channels, kernel=(2, 3)),
        ConvCase("any_stride_2", n=1, hw=(9, 8), channels=channels, filters=channels, stride=2, kernel=(2, 3)),
        ConvCase("any_dilation", n=1, hw=(7, 8), channels=channels, filters=channels, kernel=(3, 2), dilation=(1, 2)),
        ConvCase("any_1x1_stride_2", n=3, hw=(5, 7), channels=channels, filters=channels, stride=2, kernel=1),
    ]


def wgrad_cases(tile) -> list[ConvCase]:
    if tile.warpgroups:
        return [
            ConvCase("fits", n=2, hw=(9, 8), channels=64, filters=tile.n, kernel=(1, 3)),
            ConvCase("fits_strides", n=2, hw=(7, 8), channels=192, filters=tile.n, kernel=2, stride=2),
        ]
    if tile.fits:
        return [ConvCase("fits", n=2, hw=(9, 8), channels=tile.m, filters=tile.n, kernel=2)]
    return [
        ConvCase("any", n=2, hw=(9, 8), channels=40, filters=24),
        ConvCase("any_stride_2", n=3, hw=(9, 8), channels=8, filters=tile.n + 8, stride=2, dilation=(1, 2)),
    ]


def operands(case: ConvCase):
    rng = np.random.default_rng(case.channels)
    shapes = [(case.n, *case.hw, case.channels), (*case.window.kernel, case.channels, case.filters)]
    shapes.append((case.n, *case.window.output_hw, case.filters))
    return [rng.integers(-2, 3, shape).astype(np.float64) for shape in shapes]


def forced(tile, splits):
    """A plan by which every product takes the tile; what cannot be split is not."""

    def plan(product, device):
        assert product.function == BACKWARD_FILTER or gather_step(product.c, product.element) == tile.k
        return tile, splits if product.may_split else 1

    return plan


def put(ops, tile, values):
    """On the device, as the tile's elements: whole numbers this small are the same in each."""
    return ops.stored(ops.array(values.astype(np.float32)), "float32" if tile.element == "float" else "bfloat16")


def rounded(tile, values):
    """As the product is stored."""
    return values if tile.element == "float" else round_to_bfloat16(values)


def large_means(bias):
    """Means of hundreds of deviations in some channels."""
    return (bias * 1000).astype(np.float32)


@WAYS
@pytest.mark.parametrize("tile", GATHER_TILES, ids=lambda tile: tile.suffix)
def test_gathering_tiles(tile, splits, setting, monkeypatch):
    ops, oracle = emulated(*setting), Ops()
    monkeypatch.setattr(ops, "tf32", True)
    monkeypatch.setattr(ops, "tensor_plan", forced(tile, splits))
    for number, case in enumerate(gather_cases(tile)):
        x, w, dy = operands(case)
        bias = np.arange(case.filters) % 5 - 2.0
        relu = Activation("relu") if number else None
        y = ops.conv2d(
            put(ops, tile, x), put(ops, tile, w), ops.array(bias.astype(np.float32)), case.window, 1, Epilogue(relu)
        )
        wanted = rounded(tile, oracle.conv2d(x, w, bias, case.window, 1, Epilogue(relu)))
        np.testing.assert_array_equal(ops.to_numpy(y), wanted, case.name)
        with_moments = Epilogue(None, ops.array(np.full((2, case.filters), np.nan, np.float32)))
        y = ops.to_numpy(
            ops.conv2d(put(ops, tile, x), put(ops, tile, w), ops.array(large_means(bias)), case.window, 1, with_moments)
        ).astype(np.float64)
        mean, variance = ops.to_numpy(with_moments.moments)
        deviation = y.std(axis=(0, 1, 2))
        assert (np.abs(mean - y.mean(axis=(0, 1, 2))) <= 1e-6 * deviation + 1e-6 * np.abs(mean)).all(), case.name
        np.testing.assert_allclose(variance, deviation**2, 2e-6, err_msg=case.name)
        dx = rounded(tile, oracle.conv2d_backward_input(dy, w, case.window, 1))
        given = put(ops, tile, dy), put(ops, tile, w), case.window, 1
        np.testing.assert_array_equal(ops.to_numpy(ops.conv2d_backward_input(*given)), dx, case.name)
        summed = ops.conv2d_backward_input(*given, added=put(ops, tile, x))
        np.testing.assert_array_equal(ops.to_numpy(summed), rounded(tile, dx + x), case.name)


@WAYS
@pytest.mark.parametrize("tile", WGRAD_TILES, ids=lambda tile: tile.suffix)
def test_tiles_of_the_filter_gradient(tile, splits, setting, monkeypatch):
    ops, oracle = emulated(*setting), Ops()
    monkeypatch.setattr(ops, "tf32", True)
    monkeypatch.setattr(ops, "tensor_plan", forced(tile, splits))
    for case in wgrad_cases(tile):
        x, _, dy = operands(case)
        dw = ops.conv2d_backward_filter(put(ops, tile, dy), put(ops, tile, x), case.window, 1)
        wanted = oracle.conv2d_backward_filter(dy, x, case.window, 1)
        np.testing.assert_array_equal(ops.to_numpy(dw), wanted, case.name)
