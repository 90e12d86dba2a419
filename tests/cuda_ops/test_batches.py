"""Which images are next, how they are augmented, and the batch made of them."""

import numpy as np
import pytest

from cnn.backends import Augmentation, Ops

CLOCK = np.array([4, 2, 20])


def test_a_step_begins(cuda, rng):
    order, labels = rng.permutation(300), rng.integers(0, 7, 300)
    schedule = np.linspace(1, 2, 60).astype(np.float32).reshape(15, 4)
    clock, row = cuda.array(CLOCK), cuda.zeros((4,), np.float32)
    given = [cuda.array(values) for values in (order, schedule, labels)]
    for batch in range(2):
        indices, batch_labels = cuda.next_batch(*given, clock, row, 140)
        first = 20 + 140 * batch
        assert cuda.to_numpy(indices).tolist() == order[first : first + 140].tolist()
        assert cuda.to_numpy(batch_labels).tolist() == labels[order[first : first + 140]].tolist()
        assert cuda.to_numpy(row).tolist() == schedule[2 + batch].tolist()
        assert cuda.to_numpy(clock).tolist() == [5 + batch, 3 + batch, first + 140]


def test_beyond_the_epoch_nothing_else_is_read(cuda):
    """A replay too many takes the last image and the last rate again; the emulator's checked mode sees every read."""
    given = [cuda.array(values) for values in (np.arange(5), np.array([[0.5, 2]], np.float32), np.arange(5) * 10)]
    clock, row = cuda.array(np.array([7, 9, 3])), cuda.zeros((2,), np.float32)
    indices, labels = cuda.next_batch(*given, clock, row, 4)
    assert cuda.to_numpy(indices).tolist() == [3, 4, 4, 4]
    assert cuda.to_numpy(labels).tolist() == [30, 40, 40, 40]
    assert cuda.to_numpy(row).tolist() == [0.5, 2]


RULES = {
    "nothing": Augmentation(3),
    "flip": Augmentation(3, flip=True),
    "shift": Augmentation(2**40 + 1, flip=True, shift=0.13),
    "rotate": Augmentation(5, rotate=30.0),
    "half_turn": Augmentation(5, rotate=180.0, flip=True),
    "zoom": Augmentation(6, zoom=0.3, shift=0.1),
    "erase": Augmentation(7, erase=0.6, erase_area=(0.1, 0.9)),
    "crop": Augmentation(9, crop=0.1),
    "tone": Augmentation(9, brightness=0.5, contrast=0.3),
    "everything": Augmentation(8, True, 0.1, 15.0, 0.2, 0.5, (0.02, 0.33), 0.4, 0.1, 0.2),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("hw", [(48, 48), (9, 31)], ids=str)
@pytest.mark.parametrize("step", [1, 2**33 + 7])
def test_augmentation_is_what_the_reference_draws(cuda, rules, hw, step):
    clock, count = np.array([step, 0, 0]), 150
    affine, erase, tone = cuda.augmentation(cuda.array(clock), count, hw, rules)
    expected_affine, expected_erase, expected_tone = Ops().augmentation(clock, count, hw, rules)
    np.testing.assert_array_equal(cuda.to_numpy(erase), expected_erase)
    np.testing.assert_array_equal(cuda.to_numpy(tone), expected_tone)
    if rules.rotate or rules.zoom or rules.crop < 1:
        np.testing.assert_allclose(cuda.to_numpy(affine), expected_affine, rtol=0, atol=4e-6)
    else:
        np.testing.assert_array_equal(cuda.to_numpy(affine), expected_affine)
    assert cuda.to_numpy(affine).dtype == np.float32
    assert cuda.to_numpy(erase).dtype == np.int32


def test_augmentation_covers_its_range(cuda):
    """Independent of the reference: moves are whole and even, angles and rectangles within what the rules say."""
    rules = Augmentation(11, True, 0.1, 20.0, 0.25, 0.5, (0.05, 0.2))
    found = cuda.augmentation(cuda.array(CLOCK), 900, (40, 60), rules)
    affine, erase, _ = (cuda.to_numpy(a).astype(float) for a in found)
    mirrored = np.linalg.det(affine[:, :, :2]) < 0
    assert 0.45 < mirrored.mean() < 0.55
    sizes = 1 / np.sqrt(np.abs(np.linalg.det(affine[:, :, :2])))
    assert 0.75 <= sizes.min() < 0.8
    assert 1.2 < sizes.max() <= 1.25
    angles = np.rad2deg(np.arctan2(affine[:, 0, 1], affine[:, 0, 0]))
    assert -20 <= angles.min() < -18
    assert 18 < angles.max() <= 20
    erased = erase[:, 2] > 0
    assert 0.45 < erased.mean() < 0.55
    assert not erase[~erased].any()
    top, left, tall, wide = erase[erased].T
    assert (top + tall <= 40).all()
    assert (left + wide <= 60).all()
    areas = tall * wide / 2400
    assert 0.03 < areas.min() < 0.07
    assert 0.17 < areas.max() < 0.23


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("warped", [False, True])
@pytest.mark.parametrize("erased", [False, True])
@pytest.mark.parametrize("toned", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_gathered(cuda, channels, warped, erased, toned, dtype, rng):
    images = rng.integers(0, 256, (6, 17, 19, channels)).astype(dtype)
    images = images if dtype == "uint8" else images / 100 - 1
    indices = np.array([5, 0, 3, 3])
    scale, offset = rng.uniform(0.5, 2, channels).astype(np.float32), rng.normal(size=channels).astype(np.float32)
    affine = np.tile(np.array([[1, 0, 2.0], [0, -1, 18.0]], np.float32), (4, 1, 1)) if warped else None
    erase = np.array([[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 17, 19], [16, 18, 1, 1]], np.int32) if erased else None
    tone = np.array([[1, 0], [0.5, 2], [1.5, -1], [0, 3]], np.float32) if toned else None
    batch = cuda.gather_batch(
        cuda.array(images),
        cuda.array(indices),
        *(None if values is None else cuda.array(values) for values in (affine, erase, tone)),
        *(cuda.array(values) for values in (scale, offset)),
    )
    expected = images[indices].astype(float)
    if warped:
        expected = expected[:, np.minimum(np.arange(17) + 2, 16)][:, :, ::-1]
    expected = expected * scale + offset
    if toned:
        expected = expected * tone[:, 0, None, None, None] + tone[:, 1, None, None, None]
    for k, (top, left, tall, wide) in enumerate(erase if erased else []):
        expected[k, top : top + tall, left : left + wide] = 0
    np.testing.assert_allclose(cuda.to_numpy(batch), expected, rtol=1e-6, atol=1e-5)


def test_crops_cover_their_range(cuda):
    """Independent of the reference: the crop's corners lie inside the image, its area and shape within the rules."""
    affine, _, _ = cuda.augmentation(cuda.array(CLOCK), 900, (40, 60), Augmentation(11, crop=0.25))
    affine = cuda.to_numpy(affine).astype(float)
    assert (affine[:, 0, 1] == 0).all()
    assert (affine[:, 1, 0] == 0).all()
    sides, starts = affine[:, [0, 1], [0, 1]], affine[:, :, 2]
    for axis, size in enumerate((40, 60)):
        first, last = starts[:, axis] - sides[:, axis] / 2, starts[:, axis] + sides[:, axis] * (size - 0.5)
        assert first.min() >= -0.5 - 1e-5
        assert last.max() <= size - 0.5 + 1e-5
        assert first.std() > 1
    areas, shapes = sides.prod(axis=1), sides[:, 0] / sides[:, 1]
    assert 0.2499 < areas.min() < 0.3
    assert 0.9 < areas.max() < 1.0001
    assert 0.74 < shapes.min() < 0.8
    assert 1.25 < shapes.max() < 1.34


@pytest.mark.parametrize("count", [1, 4, 5])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_images_are_mixed_with_their_partners(cuda, count, channels, storage, rng):
    x = rng.integers(-8, 9, (count, 19, 17, channels)).astype(np.float32)
    mixing = cuda.array(np.array([0.75, 4, 2, 15, 6], np.float32))
    mixed = cuda.to_numpy(cuda.mix_batch(cuda.stored(cuda.array(x), storage), mixing, storage))
    expected = 0.75 * x + 0.25 * x[::-1]
    expected[:, 4:19, 2:8] = x[::-1, 4:19, 2:8]
    np.testing.assert_array_equal(mixed, expected)


def test_targets_of_mixed_images(cuda):
    share, labels = cuda.array(np.array([0.75], np.float32)), np.array([2, 0, 2])
    found = cuda.to_numpy(cuda.batch_targets(cuda.array(labels), 3, share))
    assert found.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    table = np.array([[0, 1, 0], [0.5, 0, 0.5], [1, 0, 0], [0.25, 0.5, 0.25]], np.float32)
    found = cuda.batch_targets(cuda.array(labels), 3, share, cuda.array(table), cuda.array(np.array([3, 1, 0])))
    assert cuda.to_numpy(found).tolist() == [[0.1875, 0.625, 0.1875], [0.5, 0, 0.5], [0.0625, 0.875, 0.0625]]


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_a_label_that_is_no_class_is_nan_in_the_targets(cuda, label):
    share = cuda.array(np.array([0.5], np.float32))
    found = cuda.to_numpy(cuda.batch_targets(cuda.array(np.array([label, 1, 0])), 3, share))
    assert np.isnan(found).all(axis=1).tolist() == [True, False, True]
