"""The data that needs no download: two overlapping sources of cartoon faces, drawn from a seed.

They have the troubles of real collections, in small. Both sources hold the same picture now and then, as the same
file or encoded anew, and across train and test, so that a merge without duplicate removal leaks. Classes are
unbalanced and have two names here and there, the sources look different, and one file is broken.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import PIL
from PIL import Image

from data_tools.face_drawing import CLASSES, DRAWING_VERSION, Style, draw_face
from data_tools.sources.base import SPLITS, Entry, Fingerprint
from foundation.errors import UserError


@dataclass(frozen=True, slots=True)
class ToyCollection:
    """A source: its style, how many pictures of its own it has per split, and what it calls the classes."""

    style: Style
    counts: dict[str, tuple[int, ...]]  # in the order of `CLASSES`
    names: dict[str, str]  # where they differ from `CLASSES`


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

# The pictures that toy_street also took from toy_studio: (split in the studio, split in the street, share of the
# studio's class). The second and third are leaks between train and test.
SHARED = (("train", "train", 0.10), ("test", "train", 0.15), ("train", "test", 0.03), ("test", "test", 0.10))


class ToyFaces:
    """The drawn source `toy_studio` or `toy_street`. The same seed draws the same files."""

    def __init__(self, name: str, seed: int = 0) -> None:
        if name not in COLLECTIONS:
            raise UserError(f"data.sources.{name}: there is no such toy source; there are {' and '.join(COLLECTIONS)}")
        if not isinstance(seed, int) or seed < 0:
            raise UserError(f"data.sources.{name}.seed: needs a whole number from 0 up, got {seed!r}")
        self.name = name
        self.seed = seed
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Draw every picture of the source; those that toy_street shares and its broken file come last."""
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
        # Each picture has its own generator, so that none depends on how many were drawn before it.
        key = (self.seed, style.key, SPLITS.index(split), CLASSES.index(emotion), index)
        return draw_face(np.random.default_rng(key), emotion, style)

    def _entry(self, split: str, emotion: str, file: str, data: bytes) -> Entry:
        label = COLLECTIONS[self.name].names.get(emotion, emotion)
        return Entry(self.name, f"{split}/{label}/{file}", split, label, data=data)

    def _shared(self) -> Iterator[Entry]:
        """Studio pictures that the street has too: every other one is the same file, the rest encoded anew."""
        for studio_split, split, emotion, index in shared_pictures():
            image = self._draw("toy_studio", studio_split, emotion, index)
            data = png(image) if index % 2 else png(image, compress_level=9)
            yield self._entry(split, emotion, f"studio_{studio_split}_{index:04}.png", data)

    def _broken(self) -> Entry:
        """A file whose end was lost."""
        whole = png(self._draw(self.name, "train", "neutral", 0))
        return self._entry("train", "neutral", "broken.png", whole[: len(whole) // 2])

    def expected(self) -> int:
        """The number of entries."""
        own = sum(sum(counts) for counts in COLLECTIONS[self.name].counts.values())
        return own + (len(shared_pictures()) + 1 if self.name == "toy_street" else 0)

    def fingerprint(self) -> Fingerprint:
        """Seed and drawing; Pillow's version too, for its strokes may change a little with it."""
        return {"seed": self.seed, "drawing": DRAWING_VERSION, "pillow": PIL.__version__}


def shared_pictures() -> list[tuple[str, str, str, int]]:
    """Which studio pictures the street has too: (studio split, street split, emotion, index in the studio)."""
    shared = []
    taken: Counter[tuple[str, str]] = Counter()  # the first so many of a class have gone to the street already
    for studio_split, street_split, share in SHARED:
        counts = COLLECTIONS["toy_studio"].counts[studio_split]
        for emotion, count in zip(CLASSES, counts, strict=True):
            first = taken[studio_split, emotion]
            last = first + max(2, round(share * count))
            taken[studio_split, emotion] = last
            shared += [(studio_split, street_split, emotion, index) for index in range(first, last)]
    return shared


def png(image: Image.Image, compress_level: int = 1) -> bytes:
    """The picture as a PNG file. The pixels are the same at every level, the bytes are not."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=compress_level)
    return buffer.getvalue()
