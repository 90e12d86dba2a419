"""Patch whitening: uncorrelated outputs of equal variance over the images that it has seen."""

import numpy as np
import pytest

from cnn.layers import PatchWhitening
from cnn.models import build_model
from cnn.training.first_layer import take_from_images
from cnn.training.optimizers import AdamSettings, build_optimizer
from cnn.training.pixel_scaling import PixelScaling
from layers.alone import Alone

LAYERS = [{"patch_whitening": {"kernel": 2}}, "relu", "global_avg_pool2d", {"dense": "classes"}]


def smooth(rng, count=150, shape=(12, 11, 2)):
    """Images whose neighbouring pixels resemble each other, as they do in photographs."""
    images = rng.normal(size=(count, *shape))
    for axis in (1, 2):
        images = np.cumsum(images, axis=axis) * 0.2
    return images.astype(np.float32)


def outputs(ops, layer, weight, images):
    alone = Alone(ops, layer, images.shape[1:])
    alone.params["weight"] = weight
    return alone.forward(images.astype(np.float64), train=False)[0]


@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (1, 3)])
def test_outputs_are_white(ops, rng, kernel):
    """By the layer's own convolution, without padding: second moments of the first half are those of white noise."""
    images, layer = smooth(rng), PatchWhitening(kernel, padding="valid", eps=0.0)
    weight, size = layer.from_images(images)["weight"], kernel[0] * kernel[1] * 2
    assert weight.shape == (*kernel, 2, 2 * size)
    y = outputs(ops, layer, weight, images).reshape(-1, 2 * size)
    np.testing.assert_allclose(y[:, :size].T @ y[:, :size] / len(y), np.eye(size), atol=1e-6)
    np.testing.assert_array_equal(y[:, size:], -y[:, :size])


def test_filters_are_principal_components_in_order(ops, rng):
    """Each one's norm is 1 / sqrt(variance + eps), of its own direction's variance over all patches."""
    images, eps = smooth(rng, 20), 0.01
    weight = PatchWhitening(2, eps=eps).from_images(images)["weight"].reshape(8, 16)[:, :8]
    patches = np.array([
        images[n, i : i + 2, j : j + 2].ravel() for n in range(20) for i in range(11) for j in range(10)
    ], np.float64)  # fmt: skip
    norms = np.linalg.norm(weight, axis=0)
    variances = ((patches @ (weight / norms)) ** 2).mean(axis=0)
    np.testing.assert_allclose(norms, 1 / np.sqrt(variances + eps), rtol=1e-6)
    assert (np.diff(variances) < 0).all()
    assert (np.take_along_axis(weight, np.abs(weight).argmax(axis=0)[None], 0) > 0).all()


def test_images_without_contrast_give_finite_filters(ops):
    weight = PatchWhitening(2).from_images(np.zeros((3, 5, 5, 1), np.float32))["weight"]
    assert np.isfinite(weight).all()


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_a_model_takes_its_filters_from_scaled_images_and_keeps_them(ops, engine, rng, storage):
    pixels = rng.integers(0, 256, (30, 6, 7, 3)).astype(np.uint8)
    scaling = PixelScaling.fit("standardize", pixels)
    expected = PatchWhitening(2).from_images((pixels * scaling.scale + scaling.offset).astype(np.float32))["weight"]
    for backend in (ops, engine):
        model = build_model({"name": "m", "layers": LAYERS}, backend, (6, 7, 3), 4, 0, storage=storage)
        take_from_images(model, pixels, scaling)
        np.testing.assert_allclose(model.state()["patch_whitening_1.weight"], expected, rtol=1e-6)
        assert model.trainable_count == 24 * 4 + 4
        before, optimizer = model.state(), build_optimizer(AdamSettings(weight_decay=0.1), model)
        x = backend.array((pixels[:8] * scaling.scale + scaling.offset).astype(np.float32))
        _, saved = model.forward(x, True, np.array([1]))
        model.backward(saved, backend.array(rng.normal(size=(8, 4)).astype(np.float32)))
        numbers = [backend.array(np.array([each], np.float32)) for each in (0.1, 0.9)]
        optimizer.step(*numbers, backend.array(np.array([1])))
        after = model.state()
        np.testing.assert_array_equal(after["patch_whitening_1.weight"], before["patch_whitening_1.weight"])
        assert (after["dense_1.weight"] != before["dense_1.weight"]).any()


def test_a_model_without_such_a_layer_is_left_alone(ops, rng):
    model = build_model({"name": "m", "layers": ["flatten", {"dense": "classes"}]}, ops, (4, 4, 1), 3, 0)
    before = model.state()
    take_from_images(model, rng.integers(0, 256, (5, 4, 4, 1)).astype(np.uint8), PixelScaling(np.ones(1), np.zeros(1)))
    for name, tensor in model.state().items():
        np.testing.assert_array_equal(tensor, before[name])
