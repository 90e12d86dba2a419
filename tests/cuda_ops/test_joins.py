"""Sums, products, gates, and channels side by side."""

import numpy as np
import pytest

SHAPES = [(3, 5, 7, 4), (2, 5, 7, 3), (1, 40, 40, 12), (3, 1, 1, 130)]


@pytest.mark.parametrize("shape", [(4099,), (3, 4, 4), (3,)], ids=str)
def test_sums_and_products(device, shape, rng):
    a, b, dy = rng.normal(size=(3, *shape))
    x, y, g = (device.rounded(values) for values in (a, b, dy))
    device.assert_close(device.ops.add(device.put(a), device.put(b)), x + y, 1e-7)
    device.assert_close(device.ops.multiply(device.put(a), device.put(b)), x * y, 1e-7)
    da, db = device.ops.multiply_backward(device.put(dy), device.put(a), device.put(b))
    device.assert_close(da, g * y, 1e-7)
    device.assert_close(db, g * x, 1e-7)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gates(device, shape, rng):
    x, dy, gate = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=(shape[0], shape[3]))
    seen, given, factor = device.rounded(x), device.rounded(dy), device.rounded(gate)[:, None, None]
    device.assert_close(device.ops.multiply(device.put(x), device.put(gate)), seen * factor, 1e-7)
    dx, dgate = device.ops.multiply_backward(device.put(dy), device.put(x), device.put(gate))
    device.assert_close(dx, given * factor, 1e-7)
    device.assert_close(dgate, (given * seen).sum(axis=(1, 2)), 1e-6)


@pytest.mark.parametrize("channels", [4, 127])
def test_more_images_than_a_grid_has_places(device, channels, rng, monkeypatch):
    """With 127 channels two threads share one: the second hands its sum over while the first may not have read."""
    monkeypatch.setattr("cnn.kernels.families.joins._MOST_IMAGES", 2)
    x, gate = rng.normal(size=(5, 3, 3, channels)), rng.normal(size=(5, channels))
    seen, factor = device.rounded(x), device.rounded(gate)[:, None, None]
    dx, dgate = device.ops.multiply_backward(device.put(x), device.put(x), device.put(gate))
    device.assert_close(dx, seen * factor, 1e-7)
    device.assert_close(dgate, (seen * seen).sum(axis=(1, 2)), 1e-6)


@pytest.mark.parametrize("sizes", [[4, 8, 12], [3, 1, 5], [4, 2], [2, 4, 2], [7], [130, 4]], ids=str)
@pytest.mark.parametrize("rows", [(3, 5), (7,), (2, 9, 9)], ids=str)
def test_channels_side_by_side_and_apart_again(device, sizes, rows, rng):
    parts = [rng.normal(size=(*rows, size)) for size in sizes]
    whole = device.ops.concat([device.put(part) for part in parts])
    np.testing.assert_array_equal(device.get(whole), np.concatenate([device.rounded(part) for part in parts], axis=-1))
    for again, part in zip(device.ops.split(whole, sizes), parts, strict=True):
        np.testing.assert_array_equal(device.get(again), device.rounded(part))
