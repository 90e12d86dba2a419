"""What batch-time augmentation draws, and what becomes of the pictures."""

import numpy as np
import pytest

from cnn.training.augmentation import AugmentSettings, BatchMaker
from cnn.training.normalization import PixelScaling
from foundation.errors import UserError

PLAIN = PixelScaling(np.ones(1, np.float32), np.zeros(1, np.float32))  # pixels as they are


def maker(ops, flip=True, shift=0.125, seed=3, scaling=PLAIN):
    return BatchMaker(ops, scaling, AugmentSettings(flip, shift), seed)


def test_shifts_reach_their_share_of_each_side_and_no_further(ops):
    _, shift = maker(ops).draw(20_000, height=48, width=24, step=1)
    assert shift.shape == (20_000, 2)
    assert shift.dtype == np.int32
    for axis, reach in ((0, 6), (1, 3)):  # down, right
        values, counts = np.unique(shift[:, axis], return_counts=True)
        assert values.tolist() == list(range(-reach, reach + 1))
        expected = 20_000 / (2 * reach + 1)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_down_right_and_flip_are_drawn_independently(ops):
    flip, shift = maker(ops, shift=0.2).draw(20_000, 48, 48, step=1)
    drawn = np.corrcoef(np.stack([flip, *shift.T]).astype(float))
    assert np.abs(drawn - np.eye(3)).max() < 0.04


def test_half_of_the_pictures_are_mirrored(ops):
    flip, _ = maker(ops).draw(20_000, 48, 48, step=1)
    assert flip.dtype == np.uint8
    assert set(np.unique(flip)) == {0, 1}
    assert abs(flip.mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)


def test_nothing_is_drawn_that_was_not_asked_for(ops):
    flip, shift = maker(ops, flip=False, shift=0.0).draw(500, 48, 48, step=1)
    assert not flip.any()
    assert not shift.any()
    flip, shift = maker(ops, flip=False).draw(500, 48, 48, step=1)
    assert not flip.any()
    assert shift.any()


def test_draws_are_a_function_of_seed_and_step_alone(ops):
    def drawn(seed, step):
        flip, shift = maker(ops, shift=0.3, seed=seed).draw(300, 48, 48, step)
        return np.column_stack([flip, shift])

    first = drawn(3, 7)
    np.testing.assert_array_equal(drawn(3, 7), first)
    for seed, step in ((4, 7), (3, 8), (3, 7 + 2**32), (3 + 2**32, 7)):
        assert (drawn(seed, step) != first).any(axis=1).mean() > 0.9
    shared = maker(ops, shift=0.3)
    shared.draw(300, 48, 48, 1)
    np.testing.assert_array_equal(np.column_stack(shared.draw(300, 48, 48, 7)), first)


def test_the_first_pictures_of_a_larger_batch_are_drawn_alike(ops):
    small, large = (maker(ops).draw(count, 48, 48, 5) for count in (10, 64))
    np.testing.assert_array_equal(small[0], large[0][:10])
    np.testing.assert_array_equal(small[1], large[1][:10])


@pytest.mark.parametrize("shift", [-0.1, 1.0])
def test_a_shift_out_of_range_is_refused(shift):
    with pytest.raises(UserError, match=r"augment\.shift must be from 0 to below 1"):
        AugmentSettings(shift=shift)


def test_a_training_batch_is_what_was_drawn(ops):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 8, 6, 1), dtype=np.uint8)
    indices = np.array([4, 0, 0, 3, 1, 2, 4])
    batches = maker(ops, shift=0.4)
    flip, shift = batches.draw(len(indices), 8, 6, step=2)
    assert flip.any()
    assert shift.any()
    batch = batches.training(images, indices, step=2)
    assert batch.dtype == np.float32
    for i, index in enumerate(indices):
        picture = images[index, :, ::-1] if flip[i] else images[index]
        down, right = shift[i]
        rim = np.pad(picture, ((8, 8), (6, 6), (0, 0)), mode="edge")
        np.testing.assert_array_equal(batch[i], rim[8 - down : 16 - down, 6 - right : 12 - right])


def test_a_batch_for_scoring_is_only_scaled(ops):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 1), dtype=np.uint8)
    scaling = PixelScaling(np.array([0.02], np.float32), np.array([-1.5], np.float32))
    batch = maker(ops, scaling=scaling).plain(images, np.array([3, 3, 1]))
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, images[[3, 3, 1]] * 0.02 - 1.5, atol=1e-6)
