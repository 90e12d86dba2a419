"""Aligning many pairs at once, against OpenCV's alignment of one pair and warps that are known."""

import cv2
import numpy as np
import pytest

from data_tools.duplicates.coarse import HALF, agreement, align, smoothed
from data_tools.duplicates.embedding import Embedding


def textures(number: int, seed: int = 0) -> np.ndarray:
    """Smooth random images (n, 24, 24) of two scales, standardised."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(number):
        noise = rng.normal(size=(2, 3 * HALF, 3 * HALF)).astype(np.float32)
        image = cv2.GaussianBlur(noise[0], (0, 0), 2) * 3 + cv2.GaussianBlur(noise[1], (0, 0), 5) * 10
        out.append(image)
    return np.stack(out)


def centre(images: np.ndarray, maps: np.ndarray | None = None) -> np.ndarray:
    """The middle (n, 24, 24) of larger images, seen through the maps, so that nothing comes from outside."""
    out = []
    for number, image in enumerate(images):
        shift = np.array([[1, 0, HALF], [0, 1, HALF]], np.float64)
        if maps is not None:
            whole = np.vstack([maps[number], [0, 0, 1]])
            shift = (np.vstack([shift, [0, 0, 1]]) @ whole)[:2]
        out.append(cv2.warpAffine(image, shift, (HALF, HALF), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP))
    half = np.stack(out).astype(np.float32)
    half -= half.mean(axis=(1, 2), keepdims=True)
    half /= half.std(axis=(1, 2), keepdims=True)
    return np.stack([smoothed(image) for image in half])


def warps(number: int, degrees: float, zoom: float, shift: float, seed: int = 1) -> np.ndarray:
    """Random maps (n, 2, 3) about the middle."""
    rng = np.random.default_rng(seed)
    middle = (HALF - 1) / 2
    out = []
    for turn, scale, right, down in rng.uniform(-1, 1, (number, 4)):
        matrix = cv2.getRotationMatrix2D((middle, middle), degrees * turn, 1 + zoom * scale)
        matrix[:, 2] += shift * np.array([right, down])
        out.append(matrix)
    return np.stack(out)


def identities(number: int) -> np.ndarray:
    return np.repeat(np.eye(2, 3)[None], number, axis=0)


def far(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Greatest distance in pixels between where two maps send a corner, (n,)."""
    end = HALF - 1
    corners = np.array([[0, 0, 1], [end, 0, 1], [0, end, 1], [end, end, 1]], np.float64)
    return np.hypot(*np.moveaxis((maps - others) @ corners.T, 1, 0)).max(axis=1)


def test_known_warps_are_found() -> None:
    scenes, known = textures(60), warps(60, 8, 0.08, 1.5)
    # A point x of the target shows what the map sends it to: the target is seen through the map.
    maps, found = align(centre(scenes, known), centre(scenes), identities(60))
    assert found.all()
    assert np.quantile(far(maps, known), 0.9) < 0.3


def test_it_finds_what_opencv_finds() -> None:
    """Where OpenCV's own search converges to a good fit, this one does so too, at the same place."""
    scenes, known = textures(80, seed=3), warps(80, 18, 0.2, 3, seed=4)
    targets, moving = centre(scenes, known), centre(scenes)
    maps, found = align(targets, moving, identities(80))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 1e-2)
    theirs = 0
    for number in range(80):
        try:
            _, warp = cv2.findTransformECC(
                targets[number], moving[number], np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, criteria, None, 3
            )
        except cv2.error:
            continue
        theirs += bool(far(warp[None].astype(np.float64), known[number : number + 1])[0] < 1)
    ours = int((found & (far(maps, known) < 1)).sum())
    assert theirs >= 20, "the warps are too hard to compare anything"
    assert ours >= theirs


def test_most_pairs_of_different_images_are_dropped() -> None:
    one, other = centre(textures(40, seed=5)), centre(textures(40, seed=6))
    assert align(one, other, identities(40))[1].mean() < 0.3


def test_agreement_is_the_correlation_where_both_show() -> None:
    one, other = centre(textures(9, seed=7)), centre(textures(9, seed=8))
    shifted = identities(9)
    shifted[:, :, 2] = [3, -5]
    expected = [
        np.corrcoef(a[5:, : HALF - 3].ravel(), b[: HALF - 5, 3:].ravel())[0, 1] for a, b in zip(one, other, strict=True)
    ]
    np.testing.assert_allclose(agreement(one, other, shifted), expected, atol=2e-3)
    shifted[:, :, 2] = [20, 21]  # 4 x 3 pixels are left
    assert (agreement(one, other, shifted) == -1).all()


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_result_does_not_depend_on_the_rest_of_the_batch(size: int) -> None:
    scenes, known = textures(20, seed=9), warps(20, 10, 0.1, 2, seed=10)
    targets, moving = centre(scenes, known), centre(scenes)
    maps, found = align(targets, moving, identities(20))
    alike = agreement(targets, moving, maps)
    for at in range(0, 20, size):
        some = slice(at, at + size)
        few, seen = align(targets[some], moving[some], identities(20)[some])
        np.testing.assert_array_equal(few[seen], maps[some][seen])
        np.testing.assert_array_equal(seen, found[some])
        np.testing.assert_array_equal(agreement(targets[some], moving[some], maps[some]), alike[some])


def test_images_without_structure_and_no_images_at_all() -> None:
    flat = np.zeros((2, HALF, HALF), np.float32)
    ramp = np.repeat(np.arange(HALF, dtype=np.float32)[None, None], 2, axis=0).repeat(HALF, axis=1)
    for targets, moving in ((flat, flat), (flat, ramp), (ramp, flat), (ramp, ramp)):
        maps, _ = align(targets, moving, identities(2))
        assert np.isfinite(maps).all()
        assert np.isfinite(agreement(targets, moving, maps)).all()
    maps, found = align(flat[:0], flat[:0], identities(0))
    assert maps.shape == (0, 2, 3)
    assert found.shape == agreement(flat[:0], flat[:0], maps).shape == (0,)


def test_the_vectors_of_mirror_images_are_those_that_mirror_images_have() -> None:
    images = np.random.default_rng(11).integers(0, 256, (40, 48, 48), dtype=np.uint8)
    embed = Embedding(images)
    own, mirrored = embed(images)
    np.testing.assert_allclose(mirrored, embed(np.ascontiguousarray(images[:, :, ::-1]))[0], atol=1e-5)
    assert np.abs(mirrored - own).max() > 0.1
