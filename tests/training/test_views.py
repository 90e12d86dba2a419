"""Views of an image compared with NumPy's slices and SciPy's interpolation; their mean with a loop over views."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cnn.models import build_model
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.inference import predict_probabilities
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.views import VIEWS, ViewSettings
from foundation.errors import UserError

SIZES = [(8, 8, 1), (7, 10, 3), (11, 6, 1), (5, 1, 1), (1, 6, 1)]


@pytest.fixture(params=["ops", "engine"])
def backend(request):
    return request.getfixturevalue(request.param)


def seen_by(ops, images, settings):
    """What the network gets of each view: (views, n, h, w, c), unscaled."""
    batches = BatchMaker(ops, PixelScaling(np.ones(1, np.float32), np.zeros(1, np.float32)), AugmentSettings(), 0)
    if images.shape[-1] == 3:
        batches = BatchMaker(ops, PixelScaling(np.ones(3, np.float32), np.zeros(3, np.float32)), AugmentSettings(), 0)
    indices = ops.array(np.arange(len(images)))
    return [
        np.array(ops.to_numpy(batches.plain(images, indices) if v is None else batches.viewed(images, indices, v)))
        for v in settings.views(images.shape[1:3])
    ]


def padded(image, reach):
    return np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")


def resized(crop, size):
    """SciPy's bilinear interpolation, corner pixel on corner pixel."""
    places = (np.linspace(0, have - 1, want) for have, want in zip(crop.shape, size, strict=False))
    grid = np.meshgrid(*places, indexing="ij")
    planes = crop.astype(np.float64).transpose(2, 0, 1)
    return np.stack([map_coordinates(plane, grid, order=1, mode="nearest") for plane in planes], axis=-1)


@pytest.mark.parametrize("shape", SIZES)
def test_flip_is_the_image_and_its_mirror_image(backend, rng, shape):
    images = rng.integers(0, 256, (3, *shape)).astype(np.uint8)
    plain, mirrored = seen_by(backend, images, ViewSettings("flip"))
    np.testing.assert_array_equal(plain, images)
    np.testing.assert_array_equal(mirrored, images[:, :, ::-1])


@pytest.mark.parametrize(("shape", "pixels"), [((8, 8, 1), 1), ((7, 10, 3), 3), ((11, 6, 1), 5)])
def test_shifts_are_windows_of_the_padded_image(backend, rng, shape, pixels):
    images = rng.integers(0, 256, (2, *shape)).astype(np.uint8)
    found = seen_by(backend, images, ViewSettings("shifts", tta_shift=pixels))
    height, width, _ = shape
    expected = {
        (down, right): np.stack(
            [
                padded(image, pixels)[pixels + down : pixels + down + height, pixels + right : pixels + right + width]
                for image in images
            ]
        )
        for down in (-pixels, 0, pixels)
        for right in (-pixels, 0, pixels)
    }
    assert len(found) == 9
    matched = {place for view in found for place, window in expected.items() if np.array_equal(view, window)}
    assert matched == set(expected)  # each of the nine, once
    np.testing.assert_array_equal(found[0], images)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("fraction", [0.5, 0.875])
def test_ten_crops_are_five_windows_enlarged_and_their_mirror_images(backend, rng, shape, fraction):
    images = rng.integers(0, 256, (2, *shape)).astype(np.uint8)
    found = seen_by(backend, images, ViewSettings("ten_crop", tta_crop=fraction))
    height, width, _ = shape
    rows, columns = max(1, round(fraction * height)), max(1, round(fraction * width))
    down, right = height - rows, width - columns
    crops = [
        images[:, top : top + rows, left : left + columns]
        for top, left in ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    ]
    assert len(found) == 10
    for view, mirrored, crop in zip(found[:5], found[5:], crops, strict=True):
        expected = np.stack([resized(each, (height, width)) for each in crop])
        np.testing.assert_allclose(view, expected, atol=1e-3)
        np.testing.assert_allclose(mirrored, expected[:, :, ::-1], atol=1e-3)


@pytest.mark.parametrize("name", VIEWS)
def test_probabilities_are_the_mean_over_the_views(backend, rng, name):
    images = rng.integers(0, 256, (13, 9, 8, 1)).astype(np.uint8)
    layers = [{"conv2d": {"filters": 3}}, "relu", "flatten", {"dense": {"units": "classes"}}]
    model = build_model({"name": "tiny", "layers": layers}, backend, (9, 8, 1), 4, 0)
    scaling = PixelScaling(np.array([0.02], np.float32), np.array([-1.5], np.float32))
    batches = BatchMaker(backend, scaling, AugmentSettings(), 0)
    settings = ViewSettings(name)
    found = predict_probabilities(model, backend.array(images), batches, 5, views=settings.views((9, 8)))
    each = []
    for view in seen_by(backend, images, settings):
        logits = model.forward(backend.array((view * 0.02 - 1.5).astype(np.float32)), False)[0]
        each.append(np.array(backend.to_numpy(backend.softmax(logits))))
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tta": "flips"}, "choose one of: none, flip, shifts, ten_crop"),
        ({"tta": "shifts", "tta_shift": 0}, "tta_shift must be a whole number"),
        ({"tta": "shifts", "tta_shift": 1.5}, "tta_shift must be a whole number"),
        ({"tta": "ten_crop", "tta_crop": 1.0}, "tta_crop must be a fraction"),
        ({"tta": "ten_crop", "tta_crop": "half"}, "tta_crop must be a fraction"),
        ({"tta": "shifts", "tta_shift": 6}, "out of sight"),
    ],
)
def test_views_that_cannot_be_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        ViewSettings(**options).views((9, 6))
