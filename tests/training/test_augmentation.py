"""What augmentation draws for a batch, and what becomes of the images."""

import numpy as np
import pytest

from cnn.backends.reference.batches import inverse_affine
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.pixel_scaling import PixelScaling
from foundation.errors import UserError

AS_IT_IS = PixelScaling.none(1)


def maker(ops, flip=True, shift=0.125, seed=3, scaling=AS_IT_IS, **options):
    return BatchMaker(ops, scaling, AugmentSettings(flip, shift, **options), seed)


def draw(batches, count, height, width, step):
    """The matrices, the erased rectangles and the tones of a training step."""
    return batches.ops.augmentation(np.array([step, 5, 99]), count, (height, width), batches.rules)


def moves(batches, count, height, width, step):
    """Flips (n,) and shifts (n, 2), down and right, of matrices that do nothing else."""
    affine, erase, _ = draw(batches, count, height, width, step)
    assert affine.shape == (count, 2, 3)
    assert affine.dtype == np.float32
    assert not erase.any()
    flip = affine[:, 1, 1] == -1
    right = np.where(flip, affine[:, 1, 2] - (width - 1), -affine[:, 1, 2])
    expected = np.zeros_like(affine)
    expected[:, 0, 0], expected[:, 1, 1], expected[:, :, 2] = 1, np.where(flip, -1, 1), affine[:, :, 2]
    np.testing.assert_array_equal(affine, expected)
    return flip, np.stack([-affine[:, 0, 2], right], axis=1).astype(int)


def test_shifts_reach_their_fraction_of_each_side_and_no_further(ops):
    _, shift = moves(maker(ops), 20_000, height=48, width=24, step=1)
    for axis, reach in ((0, 6), (1, 3)):  # down, right
        values, counts = np.unique(shift[:, axis], return_counts=True)
        assert values.tolist() == list(range(-reach, reach + 1))
        expected = 20_000 / (2 * reach + 1)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_down_right_and_flip_are_drawn_independently(ops):
    flip, shift = moves(maker(ops, shift=0.2), 20_000, 48, 48, step=1)
    drawn = np.corrcoef(np.stack([flip, *shift.T]).astype(float))
    assert np.abs(drawn - np.eye(3)).max() < 0.04


def test_half_of_the_images_are_mirrored(ops):
    flip, _ = moves(maker(ops), 20_000, 48, 48, step=1)
    assert abs(flip.mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)


def test_nothing_is_drawn_that_was_not_asked_for(ops):
    flip, shift = moves(maker(ops, flip=False, shift=0.0), 500, 48, 48, step=1)
    assert not flip.any()
    assert not shift.any()
    flip, shift = moves(maker(ops, flip=False), 500, 48, 48, step=1)
    assert not flip.any()
    assert shift.any()


def test_flips_and_shifts_are_those_of_the_first_version(ops):
    """Runs recorded before there were other options repeat."""
    flip, shift = moves(maker(ops, shift=0.25), 6, 8, 12, step=2)
    assert flip.tolist() == [1, 1, 0, 1, 1, 0]
    assert shift.tolist() == [[1, 1], [2, -1], [-2, -2], [-2, -3], [1, 2], [2, -1]]


def test_further_options_leave_flips_and_shifts_alone(ops):
    few, all_on = (draw(maker(ops, **options), 200, 48, 48, 5)[0] for options in ({}, {"zoom": 0.1, "erase": 0.5}))
    np.testing.assert_array_equal(np.sign(all_on[:, 1, 1]), few[:, 1, 1])
    # The centre of the image is where no zoom moves anything: it shows the same place shifted.
    zoom = 1 / all_on[:, 0, 0]
    start = few[:, 0, 2] / zoom + 23.5 * (1 - 1 / zoom)
    np.testing.assert_allclose(all_on[:, 0, 2], start, atol=1e-4)


def test_draws_are_a_function_of_seed_and_step_alone(ops):
    everything = {"shift": 0.3, "rotate": 30, "zoom": 0.2, "erase": 1.0}

    def drawn(seed, step):
        affine, erase, _ = draw(maker(ops, seed=seed, **everything), 300, 48, 48, step)
        return np.column_stack([affine.reshape(300, 6), erase])

    first = drawn(3, 7)
    np.testing.assert_array_equal(drawn(3, 7), first)
    for seed, step in ((4, 7), (3, 8), (3, 7 + 2**32), (3 + 2**32, 7)):
        assert (drawn(seed, step) != first).any(axis=1).mean() > 0.9
    shared = maker(ops, **everything)
    draw(shared, 300, 48, 48, 1)
    np.testing.assert_array_equal(draw(shared, 300, 48, 48, 7)[1], first[:, 6:])


def test_the_first_images_of_a_larger_batch_are_drawn_alike(ops):
    batches = maker(ops, rotate=10, zoom=0.1, erase=0.5)
    small, large = (draw(batches, count, 48, 48, 5) for count in (10, 64))
    np.testing.assert_array_equal(small[0], large[0][:10])
    np.testing.assert_array_equal(small[1], large[1][:10])


@pytest.mark.parametrize(
    ("option", "values", "says"),
    [
        ("shift", (-0.1, 1.0), "must be from 0 to below 1, not"),
        ("zoom", (-0.1, 1.0), "must be from 0 to below 1, not"),
        ("rotate", (-1, 181, float("nan")), "must be from 0 to 180 degrees, not"),
        ("erase", (-0.1, 1.1), "must be a probability from 0 to 1, not"),
        (
            "erase_area",
            ([0, 0.3], [0.3, 0.2], [0.1, 1.1], [0.2], [0.1, 0.2, 0.3]),
            "must be two fractions of the image",
        ),
    ],
)
def test_an_option_out_of_range_is_refused(option, values, says):
    for value in values:
        with pytest.raises(UserError, match=rf"^augment\.{option} {says}"):
            AugmentSettings(**{option: value})


def test_a_training_batch_is_what_was_drawn(ops):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 8, 6, 1), dtype=np.uint8)
    indices = np.array([4, 0, 0, 3, 1, 2, 4])
    batches = maker(ops, shift=0.4)
    flip, shift = moves(batches, len(indices), 8, 6, step=2)
    assert flip.any()
    assert shift.any()
    batch = batches.augmented(images, indices, np.array([2]))
    assert batch.dtype == np.float32
    for i, index in enumerate(indices):
        image = images[index, :, ::-1] if flip[i] else images[index]
        down, right = shift[i]
        rim = np.pad(image, ((8, 8), (6, 6), (0, 0)), mode="edge")
        np.testing.assert_array_equal(batch[i], rim[8 - down : 16 - down, 6 - right : 12 - right])


def test_a_batch_for_scoring_is_only_scaled(ops):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 1), dtype=np.uint8)
    scaling = PixelScaling(np.array([0.02], np.float32), np.array([-1.5], np.float32))
    batch = maker(ops, scaling=scaling).plain(images, np.array([3, 3, 1]))
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, images[[3, 3, 1]] * 0.02 - 1.5, atol=1e-6)


# --- turning, zooming, erasing --------------------------------------------------------------------------------------


def shown(ops, image, mirrored=False, degrees=0.0, zoom=1.0, shift=(0, 0)):
    """An image (h, w) after `inverse_affine` of one set of numbers."""
    size = np.array(image.shape)
    affine = inverse_affine(size, *map(np.array, ([mirrored], [np.deg2rad(degrees)], [zoom], [shift])))
    arguments = (image[None, :, :, None], np.array([0]), affine, np.zeros((1, 4), np.int32), None)
    return ops.gather_batch(*arguments, np.ones(1), np.zeros(1))[0, :, :, 0]


def spot(row, column, size=(9, 9)):
    image = np.zeros(size, np.uint8)
    image[row, column] = 200
    return image


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"degrees": 90}, (4, 7), (1, 4)),  # anticlockwise: from the right to the top,
        ({"degrees": 90}, (1, 4), (4, 1)),  # from the top to the left
        ({"degrees": -90}, (4, 7), (7, 4)),
        ({"degrees": 180}, (2, 7), (6, 1)),
        ({"degrees": 90}, (4, 4), (4, 4)),  # about the centre
        ({"zoom": 2.0}, (4, 6), (4, 8)),  # away from the centre
        ({"zoom": 0.5}, (2, 6), (3, 5)),
        ({"shift": (1, 3)}, (4, 4), (5, 7)),  # down, right
        ({"mirrored": True}, (2, 7), (2, 1)),
        # In this order: mirrored, turned, enlarged, moved.
        ({"mirrored": True, "degrees": 90}, (4, 7), (7, 4)),
        ({"mirrored": True, "shift": (0, 2)}, (4, 7), (4, 3)),
        ({"degrees": 90, "shift": (0, 2)}, (4, 7), (1, 6)),
        ({"zoom": 2.0, "shift": (1, 0)}, (4, 6), (5, 8)),
        ({"mirrored": True, "degrees": -90, "zoom": 0.5, "shift": (-1, 1)}, (4, 6), (2, 5)),
    ],
)
def test_a_spot_lands_where_it_should(ops, change, before, after):
    seen = shown(ops, spot(*before), **change)
    assert np.unravel_index(seen.argmax(), seen.shape) == after
    assert seen.max() == pytest.approx(200, rel=1e-4)


def test_a_wide_image_turns_about_its_own_centre(ops):
    seen = shown(ops, spot(2, 6, size=(5, 9)), degrees=90)
    assert np.unravel_index(seen.argmax(), seen.shape) == (0, 4)


def test_a_turn_there_and_back_shows_the_same_smooth_image(ops):
    rows, columns = np.mgrid[:24, :24]
    smooth = np.round(120 + 60 * np.sin(rows / 6) + 60 * np.cos(columns / 5)).astype(np.uint8)
    turned = np.round(shown(ops, smooth, degrees=15, zoom=1.1)).astype(np.uint8)
    back = shown(ops, turned, degrees=-15, zoom=1 / 1.1)
    assert np.abs(back - smooth)[6:18, 6:18].max() < 4


def test_turns_and_zooms_fill_their_range_evenly(ops):
    affine, _, _ = draw(maker(ops, flip=False, shift=0, rotate=30, zoom=0.2), 20_000, 48, 24, step=1)
    inverse = affine[:, :, :2].astype(float)
    zoom = 1 / np.sqrt(np.linalg.det(inverse))
    degrees = np.rad2deg(np.arctan2(inverse[:, 0, 1], inverse[:, 0, 0]))
    for values, low, high in ((zoom, 0.8, 1.2), (degrees, -30, 30)):
        counts, _ = np.histogram(values, 8, (low, high))
        assert counts.sum() >= 20_000 - 2  # rounding may put one outside
        assert np.abs(counts - 2500).max() < 5 * np.sqrt(2500)
    assert abs(np.corrcoef(zoom, degrees)[0, 1]) < 0.04
    # The centre stays in its place.
    centre = np.array([23.5, 11.5])
    np.testing.assert_allclose(inverse @ centre + affine[:, :, 2], np.tile(centre, (20_000, 1)), atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(48, 48), (48, 20), (3, 5), (1, 1)])
def test_erased_rectangles_lie_inside_and_are_as_many_as_asked_for(ops, height, width):
    _, erase, _ = draw(maker(ops, erase=0.25), 20_000, height, width, step=1)
    assert erase.shape == (20_000, 4)
    assert erase.dtype == np.int32
    erased = erase[:, 2] > 0
    assert abs(erased.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 20_000)
    assert not erase[~erased].any()
    assert (erase >= 0).all()
    assert (erase[:, 0] + erase[:, 2] <= height).all()
    assert (erase[:, 1] + erase[:, 3] <= width).all()
    assert (erase[erased, 2:] >= 1).all()
    assert draw(maker(ops, erase=1.0), 500, height, width, 1)[1][:, 2].all()


def test_erased_rectangles_have_the_area_and_the_shapes_asked_for(ops):
    _, erase, _ = draw(maker(ops, erase=1.0, erase_area=[0.02, 0.2]), 20_000, 200, 200, step=1)
    top, left, height, width = erase.T
    fraction, aspect = height * width / 40_000, height / width
    assert 0.0195 < fraction.min() < 0.021
    assert 0.199 < fraction.max() < 0.205
    assert fraction.mean() == pytest.approx(0.11, abs=0.002)
    assert 0.29 < aspect.min() < 0.31
    assert 1 / 0.31 < aspect.max() < 1 / 0.29
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.03)
    for corner, side in ((top, height), (left, width)):  # anywhere that it fits, independent of its size
        place = corner / (200 - side)
        assert place.mean() == pytest.approx(0.5, abs=0.02)
        assert (place.min(), place.max()) == (0, 1)
    assert abs(np.corrcoef(fraction, aspect)[0, 1]) < 0.05


def test_a_strongly_augmented_batch_is_erased_to_the_mean(ops):
    images = np.random.default_rng(0).integers(100, 256, (5, 8, 6, 1), dtype=np.uint8)
    scaling = PixelScaling(np.array([0.02], np.float32), np.array([-1.5], np.float32))
    batches = maker(ops, scaling=scaling, rotate=20, zoom=0.2, erase=1.0)
    _, erase, _ = draw(batches, 40, 8, 6, step=2)
    batch = batches.augmented(images, np.arange(40) % 5, np.array([2]))
    assert batch.dtype == np.float32
    for image, (top, left, height, width) in zip(batch[..., 0], erase, strict=True):
        assert not image[top : top + height, left : left + width].any()
        assert np.count_nonzero(image == 0) == height * width
        assert (image[image != 0] >= 0.5).all()  # warped pixels are means of pixels
