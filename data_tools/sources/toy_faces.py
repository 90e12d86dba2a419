"""Data that needs no download: two overlapping sources of cartoon faces, drawn from a seed.

They have the problems of real collections. Some images are in both sources, as equal files or encoded again, also
across train and test, so that a merge without removal of duplicates leaks. Classes are unbalanced, some have two
names, the sources differ in style, and one file is damaged.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import PIL
from PIL import Image

from data_tools.sources.base import SPLITS, Entry, Fingerprint
from data_tools.sources.face_drawing import CLASSES, DRAWING_VERSION, Style, draw_face
from foundation.errors import UserError


@dataclass(frozen=True, slots=True)
class ToyCollection:
    """A source: its style, the number of its own images per split, and its names of the classes."""

    style: Style
    counts: dict[str, tuple[int, ...]]  # in the order of `CLASSES`
    names: dict[str, str]  # those that differ from `CLASSES`


COLLECTIONS = {
    "toy_studio": ToyCollection(
        Style(key=1, line=(0.065, 0.09), scale=(0.70, 0.90), shift=0.09, roll=12, yaw=18, clutter=(0, 1),
              noise=(1, 5), blur=(-0.6, 0.4), light=0.35, negative=0.08),
        {  # angry, disgust, fear, happy, neutral, sad, surprise
            "train": (250, 75, 230, 470, 330, 280, 240),
            "test": (75, 40, 70, 110, 85, 80, 75),
        },
        names={},
    ),
    "toy_street": ToyCollection(
        Style(key=2, line=(0.055, 0.08), scale=(0.64, 0.86), shift=0.15, roll=17, yaw=24, clutter=(2, 7),
              noise=(3, 11), blur=(-0.4, 0.5), light=0.50, negative=0.18),
        {
            "train": (230, 70, 260, 340, 370, 240, 190),
            "test": (65, 35, 70, 85, 90, 70, 60),
        },
        names={"angry": "anger", "happy": "happiness", "sad": "sadness"},
    ),
}  # fmt: skip

# The images that toy_street takes from toy_studio: (split in toy_studio, split in toy_street, fraction of the class in
# toy_studio). The second and third are leaks between train and test.
SHARED = (("train", "train", 0.10), ("test", "train", 0.15), ("train", "test", 0.03), ("test", "test", 0.10))


class ToyFaces:
    """The drawn source `toy_studio` or `toy_street`. The same seed draws the same files."""

    def __init__(self, name: str, seed: int = 0) -> None:
        if name not in COLLECTIONS:
            raise UserError(f"data.sources.{name}: there is no such toy source; there are {' and '.join(COLLECTIONS)}")
        if not isinstance(seed, int) or seed < 0:
            raise UserError(f"data.sources.{name}.seed: must be an integer of at least 0, got {seed!r}")
        self.name = name
        self.seed = seed
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Draw every image of the source; the shared images and the damaged file of toy_street come last."""
        for split, counts in COLLECTIONS[self.name].counts.items():
            for emotion, count in zip(CLASSES, counts, strict=True):
                for index in range(count):
                    data = png(self._draw(self.name, split, emotion, index))
                    yield self._entry(split, emotion, f"{index:04}.png", data)
        if self.name == "toy_street":
            yield from self._shared()
            yield self._broken()

    def _draw(self, source: str, split: str, emotion: str, index: int) -> Image.Image:
        style = COLLECTIONS[source].style
        # Each image has its own generator, so that it does not depend on the images drawn before.
        key = (self.seed, style.key, SPLITS.index(split), CLASSES.index(emotion), index)
        return draw_face(np.random.default_rng(key), emotion, style)

    def _entry(self, split: str, emotion: str, file: str, data: bytes) -> Entry:
        label = COLLECTIONS[self.name].names.get(emotion, emotion)
        return Entry(self.name, f"{split}/{label}/{file}", split, label, data=data)

    def _shared(self) -> Iterator[Entry]:
        """Images of toy_studio that toy_street has too: every other one is an equal file, the rest is encoded again."""
        for studio_split, split, emotion, index in shared_images():
            image = self._draw("toy_studio", studio_split, emotion, index)
            data = png(image) if index % 2 else png(image, compress_level=9)
            yield self._entry(split, emotion, f"studio_{studio_split}_{index:04}.png", data)

    def _broken(self) -> Entry:
        """A file that is cut in half."""
        data = png(self._draw(self.name, "train", "neutral", 0))
        return self._entry("train", "neutral", "broken.png", data[: len(data) // 2])

    def expected(self) -> int:
        """The number of entries."""
        own = sum(sum(counts) for counts in COLLECTIONS[self.name].counts.values())
        return own + (len(shared_images()) + 1 if self.name == "toy_street" else 0)

    def fingerprint(self) -> Fingerprint:
        """Seed, version of the drawing, and version of Pillow, which may change the strokes a little."""
        return {"seed": self.seed, "drawing": DRAWING_VERSION, "pillow": PIL.__version__}


def shared_images() -> list[tuple[str, str, str, int]]:
    """The images in both sources: (split in toy_studio, split in toy_street, emotion, index in toy_studio)."""
    shared = []
    taken: Counter[tuple[str, str]] = Counter()  # the number of images of a class taken so far
    for studio_split, street_split, fraction in SHARED:
        counts = COLLECTIONS["toy_studio"].counts[studio_split]
        for emotion, count in zip(CLASSES, counts, strict=True):
            first = taken[studio_split, emotion]
            last = first + max(2, round(fraction * count))
            taken[studio_split, emotion] = last
            shared += [(studio_split, street_split, emotion, index) for index in range(first, last)]
    return shared


def png(image: Image.Image, compress_level: int = 1) -> bytes:
    """The image as a PNG file; the bytes depend on the compression level."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=compress_level)
    return buffer.getvalue()
