"""Batches: selection of the next images, their augmentation, and the network's input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Array, Augmentation
from cnn.backends.philox import RandomKey, random_uniform
from cnn.backends.reference.arrays import FloatArray, round_to_bfloat16

# Random streams of the training loop; layers number theirs from 1 upwards.
AUGMENTATION_STREAM, SHUFFLE_STREAM, WARP_STREAM = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
CROP_STREAM, TONE_STREAM, MIXING_STREAM = 0xFFFFFFFC, 0xFFFFFFFB, 0xFFFFFFFA


class Batches:
    """The network's input from stored images."""

    def next_batch(
        self, order: Array, schedule: Array, labels: Array, clock: Array, numbers: Array, count: int
    ) -> tuple[Array, Array]:
        """Begin a training step of `count` images: their indices (count,) and labels (count,), int64.

        order (m,) int64 is the epoch's order of the images, labels int64 those of all images, schedule (steps, k)
        float32 the numbers of each of its steps, such as the learning rate. clock int64 (3,) is changed in place: the
        number of the step, of batches and of images of this epoch so far. numbers float32 (k,) is set to those of the
        step. So no value that changes from step to step is read from the host.
        """
        _, batch, first = clock.tolist()
        numbers[...] = schedule[batch]
        clock += [1, 1, count]
        indices = order[first : first + count].copy()
        return indices, labels[indices]

    def augmentation(
        self, clock: Array, count: int, hw: tuple[int, int], rules: Augmentation
    ) -> tuple[Array, Array, Array]:
        """Matrices (count, 2, 3) float32, erased rectangles (count, 4) int32 and tones (count, 2) float32.

        They are for `gather_batch`.

        They depend only on the rules and the step clock[0]. Every option has its own random numbers, so that one option
        does not change the effect of another. Images have `hw` pixels.
        """
        uniform = random_uniform(RandomKey(rules.seed, AUGMENTATION_STREAM, clock), 3 * count).reshape(count, 3)
        further, crop, tone = np.zeros((count, 7)), np.zeros((count, 4)), np.full((count, 2), 0.5)
        # Where a stream has no effect it is not drawn.
        if rules.warps:
            further = random_uniform(RandomKey(rules.seed, WARP_STREAM, clock), 7 * count).reshape(count, 7)
        if rules.crop < 1:
            crop = random_uniform(RandomKey(rules.seed, CROP_STREAM, clock), 4 * count).reshape(count, 4)
        if rules.tones:
            tone = random_uniform(RandomKey(rules.seed, TONE_STREAM, clock), 2 * count).reshape(count, 2)
        size = np.array(hw)
        mirrored = (uniform[:, 0] < 0.5) & rules.flip
        reach = np.round(rules.shift * size).astype(np.int64)
        shift = np.floor(uniform[:, 1:] * (2 * reach + 1)).astype(np.int64) - reach
        angle = np.deg2rad(rules.rotate * (2 * further[:, 0] - 1))
        zoom = 1 + rules.zoom * (2 * further[:, 1] - 1)
        rectangles = _rectangles(further[:, 3:], size, rules.erase_area)
        rectangles[further[:, 2] >= rules.erase] = 0
        affine = inverse_affine(size, mirrored, angle, zoom, shift)
        if rules.crop < 1:
            affine = _cropped(affine, crop, size, rules.crop)
        tones = [1, 0] + np.array([rules.contrast, rules.brightness]) * (2 * tone - 1)
        return affine.astype(np.float32), rectangles, tones.astype(np.float32)

    def next_augmented_batch(
        self,
        order: Array,
        schedule: Array,
        labels: Array,
        clock: Array,
        numbers: Array,
        count: int,
        hw: tuple[int, int],
        rules: Augmentation,
    ) -> tuple[Array, Array, tuple[Array, Array, Array]]:
        """`next_batch`, and the `augmentation` of its step: indices, labels, and the arrays for `gather_batch`."""
        indices, batch_labels = self.next_batch(order, schedule, labels, clock, numbers, count)
        return indices, batch_labels, self.augmentation(clock, count, hw, rules)

    def gather_batch(
        self,
        images: Array,
        indices: Array,
        affine: Array | None,
        erase: Array | None,
        tone: Array | None,
        scale: Array,
        offset: Array,
        storage: str = "float32",
    ) -> Array:
        """Select, warp, normalise, change the tone and erase: images (m, h, w, c) to (n, h, w, c) of scale's dtype.

        With storage "bfloat16" the result is that of `stored`.

        The images are uint8, or of scale's dtype.

        Image k of the batch is computed from `images[indices[k]]` (int64). With a = affine[k] of affine (n, 2, 3)
        float32, its pixel (row i, column j) reads the input at the position, in float32,

            row    = (a[0, 0] * i + a[0, 1] * j) + a[0, 2], clamped to 0 ... h - 1
            column = (a[1, 0] * i + a[1, 1] * j) + a[1, 2], clamped to 0 ... w - 1

        so the edge is repeated outwards. The four pixels around the position are interpolated in scale's dtype, where
        v00, v01 are the upper two and v10, v11 the lower two (outside the image the nearest inside), and fr and fc are
        the fractional parts of row and column:

            top = v00 + fc * (v01 - v00), bottom = v10 + fc * (v11 - v10), value = top + fr * (bottom - top)

        The result is scale (c,) * value + offset (c,), then with a gain and a shift of each image, tone (n, 2) float32,
        gain * result + shift; and 0 inside the image's rectangle of erase (n, 4) int32: top, left, height, width in
        output pixels. The rectangle lies inside the image; one of height or width 0 erases nothing. Without `affine`
        the images are not warped, without `erase` nothing is erased, without `tone` the gain is 1 and the shift 0.

        For a matrix of integers (identity, mirror, shifts by integer pixels) positions and values are exact. For others
        a backend may fuse a multiplication with an addition, which changes the position by a rounding error; as the
        value is continuous in the position, backends agree within a tolerance.
        """
        batch = np.empty((len(indices), *images.shape[1:]), scale.dtype)
        for k, index in enumerate(indices):
            stored = images[index]
            seen = stored if affine is None else sampled(stored, affine[k].astype(np.float32), scale.dtype)
            batch[k] = seen * scale + offset
            if tone is not None:
                gain, shift = tone[k].astype(scale.dtype)
                batch[k] = batch[k] * gain + shift
            if erase is not None:
                top, left, height, width = erase[k]
                batch[k, top : top + height, left : left + width] = 0
        return batch if storage == "float32" else round_to_bfloat16(batch)

    def mix_batch(self, x: Array, mixing: Array, storage: str = "float32") -> Array:
        """Each image mixed with its partner, image n - 1 - i with image i: (n, h, w, c) of x (n, h, w, c).

        mixing float32 (5,) is blend, top, left, height, width. A pixel is blend * own + (1 - blend) * partner's (mixup,
        Zhang et al. 2018), and the partner's inside the rectangle, in pixels, which lies inside the image (CutMix, Yun
        et al. 2019). `storage` is that of x and of the result.
        """
        blend, top, left, height, width = mixing.tolist()
        blend = x.dtype.type(blend)
        mixed = blend * x + (1 - blend) * x[::-1]
        box = np.s_[:, int(top) : int(top + height), int(left) : int(left + width)]
        mixed[box] = x[::-1][box]
        return mixed if storage == "float32" else round_to_bfloat16(mixed)

    def batch_targets(
        self, labels: Array, classes: int, share: Array, table: Array | None = None, indices: Array | None = None
    ) -> Array:
        """What the images of a mixed batch show, as distributions: targets (n, classes) float32.

        Row i is share * own + (1 - share) * that of row n - 1 - i, with share float32 (1,). A row's own distribution is
        all on its label, of labels (n,) int64, or table[indices[i]] of table (images, classes) float32.
        """
        own = np.eye(classes, dtype=np.float32)[labels] if table is None else table[indices]
        part = float(share[0])
        return np.asarray(part * own + (1 - part) * own[::-1], own.dtype)


def _cropped(
    affine: NDArray[np.float64], uniform: NDArray[np.float64], size: NDArray[np.int64], least: float
) -> NDArray[np.float64]:
    """Matrices (n, 2, 3) whose positions are in a crop of the input, stretched to its size, by uniform numbers (n, 4).

    The crop's area is uniform from `least` to 1 of the image's, its height / width relative to the image's log-uniform
    from 3/4 to 4/3 (Szegedy et al. 2015), a side longer than the image's cut to it, its place uniform.
    """
    area, aspect = least + (1 - least) * uniform[:, 0], (4 / 3) ** (2 * uniform[:, 1] - 1)
    sides = np.minimum(np.sqrt(np.stack([area * aspect, area / aspect], axis=1)), 1)
    centre = (size - 1) / 2
    moved = (uniform[:, 2:] - 0.5) * (1 - sides) * size
    affine = affine * sides[:, :, None]
    affine[:, :, 2] += centre * (1 - sides) + moved
    return affine


def sampled(image: FloatArray, a: FloatArray, dtype: np.dtype) -> FloatArray:
    """The image (h, w, c) under a matrix a (2, 3) float32, as `gather_batch` defines it: (h, w, c)."""
    height, width, _ = image.shape
    if a[0, 1] == 0 == a[1, 0] and (a == np.round(a)).all():  # mirrored and shifted by integer pixels
        rows, columns = (
            np.clip(a[axis, axis] * np.arange(size, dtype=np.float32) + a[axis, 2], 0, size - 1).astype(np.int64)
            for axis, size in enumerate((height, width))
        )
        return image[rows[:, None], columns]
    return _warp(image, a, dtype)


def _warp(image: FloatArray, a: FloatArray, dtype: np.dtype) -> FloatArray:
    """The image (h, w, c) under a matrix a (2, 3), bilinear: (h, w, c) of `dtype`."""
    height, width, channels = image.shape
    i, j = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    row = np.clip((a[0, 0] * i + a[0, 1] * j) + a[0, 2], 0, height - 1)
    column = np.clip((a[1, 0] * i + a[1, 1] * j) + a[1, 2], 0, width - 1)
    upper, left = np.floor(row), np.floor(column)
    fr, fc = (part.astype(dtype)[:, :, None] for part in (row - upper, column - left))
    pixels = image.reshape(-1, channels).astype(dtype)
    place = upper.astype(np.int64) * width + left.astype(np.int64)

    def between(place: FloatArray) -> FloatArray:
        # After the last column or row is an unrelated pixel, which has the weight 0.
        first, second = (pixels.take(p, axis=0, mode="clip") for p in (place, place + 1))
        return first + fc * (second - first)

    top, bottom = between(place), between(place + width)
    return top + fr * (bottom - top)


def inverse_affine(
    size: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    angle: NDArray[np.float64],
    zoom: NDArray[np.float64],
    shift: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The matrices (n, 2, 3) that map each output pixel to its position in the input.

    An image of `size` (2,) is mirrored left to right, rotated anticlockwise by `angle` (n,) in radians and enlarged
    `zoom` (n,) times about its centre, then shifted by `shift` (n, 2) pixels (down, right). If it is only mirrored and
    shifted, the numbers are integers.
    """
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    sense = np.where(mirrored, -1.0, 1.0)
    # The inverse steps, from the last to the first. Rows count downwards, so the inverse rotation maps (r, c) to
    # (r cos + c sin, c cos - r sin).
    linear = np.stack([cosine, sine, -sense * sine, sense * cosine], axis=1).reshape(-1, 2, 2)
    centre = (size - 1) / 2
    start = centre - np.einsum("nij,nj->ni", linear, centre + shift)
    return np.concatenate([linear, start[:, :, None]], axis=2)


def _rectangles(uniform: NDArray[np.float64], size: NDArray[np.int64], area: tuple[float, float]) -> NDArray[np.int32]:
    """Rectangles (n, 4) for random erasing (Zhong et al. 2017), from four uniform numbers each (n, 4).

    Their area is uniform between the fractions `area` of the image, height / width log-uniform from 0.3 to 1 / 0.3, and
    the place uniform among those inside the image. A side longer than that of the image is cut to it.
    """
    pixels = (area[0] + (area[1] - area[0]) * uniform[:, 0]) * size.prod()
    aspect = 0.3 ** (1 - 2 * uniform[:, 1])
    sides = np.sqrt(np.stack([pixels * aspect, pixels / aspect], axis=1))
    sides = np.clip(np.round(sides), 1, size).astype(np.int64)
    corner = np.floor(uniform[:, 2:] * (size - sides + 1)).astype(np.int64)
    return np.concatenate([corner, sides], axis=1).astype(np.int32)
