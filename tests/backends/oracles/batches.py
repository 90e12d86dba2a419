"""Batches by lists, 3x3 matrices and SciPy's interpolation."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from backends.oracles.arrays import stored
from backends.oracles.randomness import random_uniform

_AUGMENTATION_STREAM, _WARP_STREAM, _CROP_STREAM, _TONE_STREAM = 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFC, 0xFFFFFFFB


def next_batch(order, schedule, labels, clock, numbers, count):
    step, batch, first = clock.tolist()
    indices = order.tolist()[first : first + count]
    chosen = [labels.tolist()[index] for index in indices]
    return (
        np.array(indices),
        np.array(chosen),
        np.array([step + 1, batch + 1, first + count]),
        np.array(schedule.tolist()[batch], np.float32),
    )


def next_augmented_batch(order, schedule, labels, clock, numbers, count, hw, rules):
    indices, chosen, after, row = next_batch(order, schedule, labels, clock, numbers, count)
    return indices, chosen, *augmentation(after, count, hw, rules), after, row


def augmentation(clock, count, hw, rules):
    step = int(clock[0])
    plain = random_uniform(rules.seed, _AUGMENTATION_STREAM, step, 3 * count)
    further = random_uniform(rules.seed, _WARP_STREAM, step, 7 * count) if rules.warps else [0.0] * 7 * count
    images = [_image(plain[3 * k : 3 * k + 3], further[7 * k : 7 * k + 7], hw, rules) for k in range(count)]
    matrices, rectangles = zip(*images, strict=True)
    if rules.crop < 1:
        crops = np.reshape(random_uniform(rules.seed, _CROP_STREAM, step, 4 * count), (count, 4))
        matrices = [_in_a_crop(m, u, hw, rules.crop) for m, u in zip(matrices, crops.tolist(), strict=True)]
    tones = np.tile([1.0, 0.0], (count, 1))
    if rules.brightness or rules.contrast:
        gain, shift = np.reshape(random_uniform(rules.seed, _TONE_STREAM, step, 2 * count), (count, 2)).T
        tones = np.stack([1 - rules.contrast + 2 * rules.contrast * gain, rules.brightness * (2 * shift - 1)], axis=1)
    return np.array(matrices, np.float32), np.array(rectangles, int), tones.astype(np.float32)


def _in_a_crop(matrix, uniform, hw, least):
    """A random resized crop (Szegedy et al. 2015): rectangle first, positions by the edges of its pixels."""
    area, aspect = least + (1 - least) * uniform[0], math.exp(math.log(4 / 3) * (2 * uniform[1] - 1))
    rows = []
    for axis, (size, part) in enumerate(zip(hw, (math.sqrt(area * aspect), math.sqrt(area / aspect)), strict=True)):
        side = min(part, 1) * size
        edge = (size - side) * uniform[2 + axis]
        # An output position p, of pixel centres, is p + 1/2 from the edge: edge + (p + 1/2) * side / size - 1/2.
        row = np.array(matrix[axis], float) * side / size
        row[2] += edge + side / size / 2 - 0.5
        rows.append(row)
    return rows


def _image(plain, further, hw, rules):
    """The matrix that takes an output pixel to its place in the input, and the erased rectangle, of one image."""
    height, width = hw
    down, right = (
        math.floor(u * (2 * reach + 1)) - reach
        for u, reach in zip(plain[1:], (round(rules.shift * height), round(rules.shift * width)), strict=True)
    )
    angle, zoom = math.radians(rules.rotate * (2 * further[0] - 1)), 1 + rules.zoom * (2 * further[1] - 1)
    mirror = np.diag([1.0, -1.0 if rules.flip and plain[0] < 0.5 else 1.0, 1.0])
    # In rows and columns, rows downwards: anticlockwise to the eye.
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    middle = _moved((height - 1) / 2, (width - 1) / 2)
    there = _moved(down, right) @ middle @ np.diag([zoom, zoom, 1.0]) @ turn @ mirror @ np.linalg.inv(middle)
    return np.linalg.inv(there)[:2], _rectangle(further[2:], hw, rules)


def _moved(down, right):
    return np.array([[1, 0, down], [0, 1, right], [0, 0, 1.0]])


def _rectangle(uniform, hw, rules):
    """Random erasing (Zhong et al. 2017): an area, a shape, a place."""
    if uniform[0] >= rules.erase:
        return 0, 0, 0, 0
    least, most = rules.erase_area
    area = (least + (most - least) * uniform[1]) * hw[0] * hw[1]
    aspect = math.exp(math.log(0.3) * (1 - 2 * uniform[2]))  # height over width
    sides = [
        min(max(round(math.sqrt(part)), 1), size) for part, size in zip((area * aspect, area / aspect), hw, strict=True)
    ]
    corner = [math.floor(u * (size - side + 1)) for u, size, side in zip(uniform[3:], hw, sides, strict=True)]
    return *corner, *sides


def gather_batch(images, indices, affine, erase, tone, scale, offset, storage="float32"):
    _, height, width, channels = images.shape
    batch = np.empty((len(indices), height, width, channels))
    output = np.indices((height, width))
    for k, index in enumerate(indices):
        a = np.eye(2, 3) if affine is None else affine[k].astype(float)
        places = np.einsum("ab,bij->aij", a[:, :2], output) + a[:, 2, None, None]
        for c in range(channels):
            seen = ndimage.map_coordinates(images[index, :, :, c].astype(float), places, order=1, mode="nearest")
            batch[k, :, :, c] = scale[c] * seen + offset[c]
            if tone is not None:
                batch[k, :, :, c] = tone[k, 0] * batch[k, :, :, c] + tone[k, 1]
        top, left, tall, wide = (0, 0, 0, 0) if erase is None else erase[k]
        for row in range(top, top + tall):
            for column in range(left, left + wide):
                batch[k, row, column] = 0
    return stored(batch, storage)


def mix_batch(x, mixing, storage="float32"):
    blend, top, left, tall, wide = mixing.tolist()
    mixed = np.empty(x.shape)
    for (i, row, column, c), own in np.ndenumerate(x):
        partner = x[len(x) - 1 - i, row, column, c]
        inside = top <= row < top + tall and left <= column < left + wide
        mixed[i, row, column, c] = partner if inside else blend * own + (1 - blend) * partner
    return stored(mixed, storage)


def batch_targets(labels, classes, share, table=None, indices=None):
    (part,) = share.tolist()
    rows = (
        [[float(label == j) for j in range(classes)] for label in labels] if table is None else table[indices].tolist()
    )
    return (
        np.array(
            [np.multiply(part, own) + np.multiply(1 - part, other) for own, other in zip(rows, rows[::-1], strict=True)]
        ),
    )
