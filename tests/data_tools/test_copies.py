"""Mirrored and re-encoded copies among images that resemble each other, and that no other image is taken for one."""

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_duplicate_kinds import ALIKE, KINDS

from data_tools.duplicates.assign import Grouping, find_groups
from data_tools.duplicates.settings import SearchConfig
from data_tools.reading.images import canonical, pixels_sha256
from data_tools.reading.manifest import Row
from data_tools.reading.thumbnails import thumbnail

Pixels = np.ndarray
LINES = KINDS["line drawings"]


def coded(image: Pixels, kind: str = "jpeg", quality: int = 85) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, quality=quality)
    return canonical(np.asarray(Image.open(file)))


def flipped(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image[:, ::-1])


def found_in(images: list[Pixels], labels: list[str] | None = None, level: str = "augmented") -> Grouping:
    names = [f"{place:04}" for place in range(len(images))]
    rows = []
    for name, image, label in zip(names, images, labels or ["x"] * len(images), strict=True):
        digest = pixels_sha256(image)
        rows.append(Row(name, "s", name, "", label, label, digest, digest, height=image.shape[0], width=image.shape[1]))
    small = {name: thumbnail(image) for name, image in zip(names, images, strict=True)}
    return find_groups(rows, small, level, SearchConfig(), 2, colours=dict(zip(names, images, strict=True)))


def together(found: Grouping, level: str, first: int, second: int) -> bool:
    return found.groups[level][f"{first:04}"] == found.groups[level][f"{second:04}"]


def number_of_groups(found: Grouping, level: str) -> int:
    return len(set(found.groups[level].values()))


SORTS: dict[str, tuple[str, Callable[[Pixels], Pixels]]] = {
    "mirrored": ("mirrored", flipped),
    "JPEG": ("near", coded),
    "WebP": ("near", lambda image: coded(image, "webp", 90)),
    "mirrored and JPEG": ("mirrored", lambda image: coded(flipped(image), quality=90)),
    "one level brighter": ("near", lambda image: np.minimum(image, 254) + np.uint8(1)),
}


@pytest.mark.parametrize("name", ALIKE)
def test_planted_copies_are_found_and_nothing_else(name: str) -> None:
    images, labels = KINDS[name].images, KINDS[name].labels
    chosen = [(sort, place) for at, sort in enumerate(SORTS) for place in range(at, 4 * len(SORTS), len(SORTS))]
    copies = [SORTS[sort][1](images[place]) for sort, place in chosen]
    found = found_in([*images, *copies], [*labels, *(labels[place] for _, place in chosen)])
    hits = Counter(
        sort
        for number, (sort, place) in enumerate(chosen)
        if together(found, SORTS[sort][0], place, len(images) + number)
    )
    assert hits["mirrored"] == hits["one level brighter"] == 4
    assert sum(hits.values()) >= (9 if name == "products on white" else 16), hits  # objects in few ways, and smooth
    assert number_of_groups(found, "mirrored") == len(images) + len(copies) - sum(hits.values())


@pytest.mark.parametrize("name", ALIKE)
def test_without_labels_no_image_is_lost(name: str) -> None:
    found = found_in(KINDS[name].images)
    assert number_of_groups(found, "mirrored") == len(KINDS[name].images)


def test_several_copies_of_one_image() -> None:
    copies = [coded(LINES.images[5]), coded(LINES.images[5], "webp"), coded(LINES.images[5], quality=95)]
    found = found_in([*LINES.images, *copies])
    assert all(together(found, "near", 5, len(LINES.images) + place) for place in range(3))
    assert number_of_groups(found, "near") == len(LINES.images)


def test_a_mirror_image_of_another_class_is_no_copy() -> None:
    """As b and d; with one label for both it is a copy."""
    images, labels = [*LINES.images, flipped(LINES.images[3])], [*LINES.labels, LINES.labels[3]]
    assert together(found_in(images, labels), "mirrored", 3, len(LINES.images))
    other = next(label for label in LINES.labels if label != LINES.labels[3])
    assert not together(found_in(images, [*LINES.labels, other]), "mirrored", 3, len(LINES.images))


def test_mirror_images_throughout_are_how_the_images_were_made() -> None:
    images = [*LINES.images, *map(flipped, LINES.images)]
    found = found_in(images)
    assert number_of_groups(found, "mirrored") == len(images)
    assert "nor do mirror images count as copies: 100% of the images are mirror images of others" in found.note


def dial(hand: float, face: int, size: int = 64) -> Pixels:
    """A clock whose number of marks, size and place make it different from others, with a thin hand."""
    rng = np.random.default_rng(face)
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    x, y = rng.uniform(24, 40, 2)
    radius = rng.uniform(16, 22)
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=0, width=int(rng.integers(2, 5)))
    pen.line([x, y, x + radius * np.cos(hand), y + radius * np.sin(hand)], fill=0, width=1)
    return np.asarray(image)


def test_a_small_part_that_differs_is_no_copy() -> None:
    """The nearest image by far, and nearly everywhere equal: but not encoded again, because one part differs much."""
    images = [dial(0.3, face) for face in range(40)]
    changed = [dial(1.4, face) for face in range(6)]
    found = found_in([*images, *changed])
    assert found.strangers is not None
    assert number_of_groups(found, "mirrored") == 46


def in_colour(image: Pixels, colour: tuple[int, int, int]) -> Pixels:
    ink = 1 - image[:, :, None] / 255
    return np.rint(255 - ink * (255 - np.array(colour))).astype(np.uint8)


def test_another_colour_is_no_copy() -> None:
    """Two colours of equal luma, so that the grey images are the same."""
    red, green = (150, 0, 0), (0, 76, 0)
    drawn = [in_colour(image, red) for image in LINES.images]
    repainted = [in_colour(image, green) for image in LINES.images[:5]]
    assert np.abs(thumbnail(drawn[0]).astype(int) - thumbnail(repainted[0])).max() <= 2
    found = found_in([*drawn, *repainted, coded(drawn[7], quality=90)])
    assert number_of_groups(found, "mirrored") == len(drawn) + 5
    assert together(found, "near", 7, len(drawn) + 5)


def test_another_size_is_no_copy_here() -> None:
    """Nearly square crops may show different things; a copy that is only encoded again has its size."""
    image = LINES.images[0]
    found = found_in([*LINES.images, image[:, :-1].copy()])
    assert number_of_groups(found, "mirrored") == len(LINES.images) + 1


def test_evenly_spaced_images_are_no_copies() -> None:
    """A slow film: each image is nearly its neighbour, and none is nearer than all others."""
    y, x = np.mgrid[:48, :48]
    film = [np.rint(255 / (1 + np.exp(np.hypot(x - 10 - 0.2 * t, y - 24) - 9))).astype(np.uint8) for t in range(80)]
    found = found_in(film)
    assert number_of_groups(found, found.level("augmented")) == 80 or "augmented" in found.groups


@pytest.mark.parametrize("level", ["near", "mirrored"])
def test_no_further_than_asked(level: str) -> None:
    found = found_in([*LINES.images, flipped(LINES.images[0])], level=level)
    assert list(found.groups)[-1] == level
    assert number_of_groups(found, level) == len(LINES.images) + (level == "near")
