"""Batches: which images, how augmented, and the network's input."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backends.cases.call import Call, Exactly, Filled, given
from cnn.backends import Augmentation


@dataclass(frozen=True)
class GatherCase:
    name: str
    n: int
    hw: tuple[int, int]
    channels: int
    reach: int = 0  # largest shift
    flips: bool = False
    turns: bool = False  # by quarters, which are whole numbers too
    warps: float = 0.0  # how far half of the matrices are from moving whole pixels
    grain: int | None = None  # matrices are multiples of 1 / grain, so that float32 positions are exact
    erases: bool = False
    augments: bool = True
    tones: bool = False

    def arguments(self, rng):
        images = rng.integers(0, 256, (6, *self.hw, self.channels), dtype=np.uint8)
        affine, erase = Exactly(self.affine(rng).astype(np.float32)), self.rectangles(rng).astype(np.int32)
        scale, offset = rng.uniform(0.001, 0.1, self.channels), rng.normal(size=self.channels)
        both = (affine, erase) if self.augments else (None, None)
        tone = np.stack([rng.uniform(0.5, 1.5, self.n), rng.normal(size=self.n)], axis=1).astype(np.float32)
        return given(images, rng.integers(6, size=self.n), *both, Exactly(tone) if self.tones else None, scale, offset)

    def affine(self, rng):
        """Matrices that mirror, turn and shift about the middle, and what `warps` adds to them."""
        linear = np.tile(np.eye(2), (self.n, 1, 1))
        linear[:, 1, 1] -= 2 * rng.integers(0, 2, self.n) * self.flips
        if self.turns:
            quarter = np.array([[0, 1], [-1, 0]])
            linear = np.stack([a @ np.linalg.matrix_power(quarter, rng.integers(4)) for a in linear])
        linear += self.warps * rng.normal(size=linear.shape) * (rng.random((self.n, 1, 1)) < 0.5)
        if self.grain:
            linear = np.round(self.grain * linear) / self.grain
        middle = (np.array(self.hw) - 1) / 2
        start = middle - linear @ middle + rng.integers(-self.reach, self.reach + 1, (self.n, 2))
        if self.warps:
            start += rng.normal(size=start.shape) * (rng.random((self.n, 1)) < 0.5)
        if self.grain:
            start = np.round(self.grain * start) / self.grain
        return np.concatenate([linear, start[:, :, None]], axis=2)

    def rectangles(self, rng):
        """Any rectangles inside the image, a third of them of height 0; or none."""
        first, second = np.sort(rng.integers(0, np.array(self.hw) + 1, (2, self.n, 2)), axis=0)
        sides = (second - first) * self.erases
        sides[rng.random(self.n) < 1 / 3, 0] = 0
        return np.concatenate([first, sides], axis=1)

    @property
    def tolerance(self) -> str:
        return "position" if self.warps and not self.grain else "element"


GATHERS = [
    GatherCase("as_they_are", 9, (5, 7), 3, augments=False),
    GatherCase("plain", 4, (5, 7), 1),
    GatherCase("flipped", 9, (5, 7), 1, flips=True),
    GatherCase("shifted", 9, (7, 4), 3, reach=2),
    GatherCase("flipped_and_shifted", 70, (6, 5), 3, reach=3, flips=True),
    GatherCase("shifted_past_the_rim", 9, (3, 4), 2, reach=6, flips=True),
    GatherCase("batch_1", 1, (8, 8), 1, reach=1, flips=True),
    GatherCase("quarter_turns", 12, (7, 7), 2, turns=True, flips=True),
    GatherCase("quarter_turns_of_wide_images", 12, (5, 8), 1, turns=True, reach=1),
    GatherCase("erased", 20, (6, 9), 3, erases=True),
    GatherCase("erased_and_moved", 20, (9, 6), 1, reach=2, flips=True, erases=True),
    GatherCase("erased_images_of_one_pixel", 9, (1, 1), 2, erases=True),
    GatherCase("half_pixels", 12, (5, 8), 3, reach=1, flips=True, warps=0.4, grain=2),
    GatherCase("sixteenths", 20, (9, 7), 3, reach=2, flips=True, warps=0.3, grain=16, erases=True),
    GatherCase("sixteenths_far_outside", 20, (6, 5), 1, reach=1000, warps=0.5, grain=16),
    GatherCase("sixteenths_of_one_row", 9, (1, 11), 3, reach=1, warps=0.3, grain=16),
    GatherCase("sixteenths_of_one_pixel", 9, (1, 1), 1, reach=1, warps=0.3, grain=16),
    GatherCase("sixteenths_of_large_steps", 9, (13, 11), 2, warps=3, grain=16),
    GatherCase("toned", 9, (5, 7), 3, augments=False, tones=True),
    GatherCase("toned_and_erased", 9, (7, 4), 1, reach=2, erases=True, tones=True),
    GatherCase("toned_sixteenths", 20, (9, 7), 3, reach=2, warps=0.3, grain=16, erases=True, tones=True),
    GatherCase("warped", 20, (9, 7), 3, reach=1, flips=True, warps=0.2, erases=True),
    GatherCase("warped_batch_1", 1, (8, 11), 1, warps=0.2),
    GatherCase("warped_many_chunks", 70, (48, 48), 1, reach=4, flips=True, warps=0.2, erases=True),
]

# Name, step, images, size of an image, and what is done to them.
AUGMENTATIONS = [
    ("nothing", 3, 5, (9, 7), Augmentation(11)),
    ("flips", 3, 40, (9, 7), Augmentation(11, flip=True)),
    ("shifts", 4, 33, (24, 17), Augmentation(2**64 - 3, shift=0.125)),
    ("flips_and_shifts", 2**40 + 7, 70, (48, 48), Augmentation(5, flip=True, shift=0.1)),
    ("turns", 6, 9, (20, 31), Augmentation(1, rotate=15)),
    ("zooms", 7, 9, (20, 31), Augmentation(1, zoom=0.2)),
    ("erases", 8, 40, (20, 31), Augmentation(1, erase=0.6)),
    ("erases_thin_images", 9, 40, (3, 40), Augmentation(1, erase=1.0, erase_area=(0.3, 0.9))),
    ("everything", 9, 300, (48, 40), Augmentation(3, True, 0.1, 10, 0.1, 0.5, (0.02, 0.4))),
    ("crops", 10, 40, (20, 31), Augmentation(1, crop=0.3)),
    ("crops_flipped_and_turned", 11, 40, (48, 40), Augmentation(2**40, True, 0.1, 20, 0.2, crop=0.08)),
    ("brightness", 12, 40, (9, 7), Augmentation(1, brightness=0.3)),
    ("brightness_and_contrast", 13, 300, (9, 7), Augmentation(1, flip=True, brightness=0.2, contrast=0.9)),
    ("one_image_of_one_pixel", 1, 1, (1, 1), Augmentation(3, True, 0.5, 10, 0.1, 0.5)),
]

# Name, images of the data set, of a batch, and the clock: step, batches and images of the epoch so far.
_NEXT = [("first", 20, 6, (0, 0, 0)), ("third", 20, 6, (41, 2, 12)), ("smaller_last", 20, 2, (7, 3, 18))]
_NEXT += [("one_image", 1, 1, (2**40, 0, 0)), ("many", 700, 300, (9, 1, 300))]

# Name, shape, and how images are mixed: blend, top, left, height, width.
_MIXED = [
    ("not_at_all", (5, 7, 6, 3), [1, 0, 0, 0, 0]),
    ("blended", (6, 5, 9, 1), [0.3, 0, 0, 0, 0]),
    ("a_rectangle", (7, 9, 8, 2), [1, 2, 1, 5, 7]),
    ("a_rectangle_at_the_end", (4, 9, 20, 3), [1, 3, 12, 6, 8]),
    ("all_of_the_partner", (3, 6, 4, 1), [1, 0, 0, 6, 4]),
    ("blended_beside_a_rectangle", (9, 17, 19, 3), [0.75, 16, 0, 1, 19]),
    ("one_image_of_one_pixel", (1, 1, 1, 1), [0.5, 0, 0, 1, 1]),
    ("many", (70, 48, 48, 1), [0.6, 5, 6, 7, 8]),
]
# Name, images, classes, share, and whether the images have distributions.
_TARGETS = [("labels", 9, 7, 0.7, False), ("soft", 8, 8, 0.25, True), ("all_own", 5, 3, 1.0, False)]
_TARGETS += [("one_image", 1, 2, 0.4, True), ("one_class", 4, 1, 0.4, False), ("many_classes", 64, 100, 0.9, False)]


def batch_calls() -> Iterator[Call]:
    for c in GATHERS:
        yield Call("gather_batch", c.name, c.arguments, c.tolerance)
    for name, affine, erase in (("bfloat16", False, False), ("bfloat16_warped_and_erased", True, True)):
        build = functools.partial(_in_bfloat16, affine=affine, erase=erase)
        yield Call("gather_batch", name, build, "exact", any_type=True)
    for name, step, count, hw, rules in AUGMENTATIONS:
        clock = np.array([step, 2, 128])
        yield Call("augmentation", name, lambda rng, a=(clock, count, hw, rules): given(*a))
    for name, shape, mixing in _MIXED:
        yield Call("mix_batch", name, lambda rng, a=(shape, mixing): _mixed(rng, *a))
    for name, *numbers in _TARGETS:
        yield Call("batch_targets", name, lambda rng, a=numbers: _targets(rng, *a), any_type=True)
    for name, images, count, clock in _NEXT:
        yield Call("next_batch", name, lambda rng, a=(images, count, clock): _next_batch(rng, *a))
        for rules in (
            Augmentation(5, flip=True, shift=0.1),
            Augmentation(3, True, 0.1, 10, 0.1, 0.5, (0.02, 0.4), 0.5, 0.1, 0.2),
        ):
            more = ((24, 17), rules)
            what = f"{name}_{'warped' if rules.warps else 'moved'}"
            yield Call("next_augmented_batch", what, lambda rng, a=(images, count, clock, *more): _next_batch(rng, *a))


def _in_bfloat16(rng, affine: bool, erase: bool):
    """Values that float32 has exactly and bfloat16 has not, so that only one rounding is left to a backend."""
    matrices = Exactly(np.array([[[1, 0, 0.5], [0, -1, 3]], [[1, 0, -1], [0, 1, 0.25]]] * 9, np.float32))
    rectangles = np.array([[1, 0, 3, 2], [0, 0, 0, 0]] * 9, np.int32)
    return given(
        rng.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8),
        rng.integers(5, size=18),
        matrices if affine else None,
        rectangles if erase else None,
        None,
        np.array([0.0625, 1.0, 0.75]),
        np.array([-3.0, 64.125, 0.0]),
        "bfloat16",
    )


def _next_batch(rng, images: int, count: int, clock: tuple[int, int, int], *more):
    schedule = Exactly(rng.uniform(0.01, 0.5, (9, 3)).astype(np.float32))
    numbers = Filled(Exactly(np.full(3, np.nan, np.float32)))
    labels = rng.integers(7, size=images)
    return given(rng.permutation(images), schedule, labels, Filled(np.array(clock)), numbers, count, *more)


def _mixed(rng, shape: tuple[int, ...], mixing: list[float]):
    return given(rng.normal(size=shape), Exactly(np.array(mixing, np.float32)))


def _targets(rng, count: int, classes: int, share: float, soft: bool):
    table = rng.dirichlet(np.ones(classes), 20)
    more = (table, rng.integers(20, size=count)) if soft else ()
    return given(rng.integers(classes, size=count), classes, Exactly(np.array([share], np.float32)), *more)
