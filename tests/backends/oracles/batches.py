"""Batches by lists, 3x3 matrices and SciPy's interpolation."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from backends.oracles.arrays import stored
from backends.oracles.randomness import random_uniform

_AUGMENTATION_STREAM, _WARP_STREAM = 0xFFFFFFFF, 0xFFFFFFFD


def next_batch(order, rates, labels, clock, learning_rate, count):
    step, batch, first = clock.tolist()
    indices = order.tolist()[first : first + count]
    chosen = [labels.tolist()[index] for index in indices]
    return (
        np.array(indices),
        np.array(chosen),
        np.array([step + 1, batch + 1, first + count]),
        np.array([rates[batch]], np.float32),
    )


def next_augmented_batch(order, rates, labels, clock, learning_rate, count, hw, rules):
    indices, chosen, after, rate = next_batch(order, rates, labels, clock, learning_rate, count)
    return indices, chosen, *augmentation(after, count, hw, rules), after, rate


def augmentation(clock, count, hw, rules):
    step = int(clock[0])
    plain = random_uniform(rules.seed, _AUGMENTATION_STREAM, step, 3 * count)
    further = random_uniform(rules.seed, _WARP_STREAM, step, 7 * count) if rules.warps else [0.0] * 7 * count
    images = [_image(plain[3 * k : 3 * k + 3], further[7 * k : 7 * k + 7], hw, rules) for k in range(count)]
    matrices, rectangles = zip(*images, strict=True)
    return np.array(matrices, np.float32), np.array(rectangles, int)


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


def gather_batch(images, indices, affine, erase, scale, offset, storage="float32"):
    _, height, width, channels = images.shape
    batch = np.empty((len(indices), height, width, channels))
    output = np.indices((height, width))
    for k, index in enumerate(indices):
        a = np.eye(2, 3) if affine is None else affine[k].astype(float)
        places = np.einsum("ab,bij->aij", a[:, :2], output) + a[:, 2, None, None]
        for c in range(channels):
            seen = ndimage.map_coordinates(images[index, :, :, c].astype(float), places, order=1, mode="nearest")
            batch[k, :, :, c] = scale[c] * seen + offset[c]
        top, left, tall, wide = (0, 0, 0, 0) if erase is None else erase[k]
        for row in range(top, top + tall):
            for column in range(left, left + wide):
                batch[k, row, column] = 0
    return stored(batch, storage)
