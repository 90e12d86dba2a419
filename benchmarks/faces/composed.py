"""Group photographs with known faces: images of faces, each the crop of one, put into photographs without any.

Each face is scaled, rotated, made lighter or darker, for every second photograph tinted, and faded out towards the
corners of its crop, so that no edge of a square shows. Photographs end as JPEG files do.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_tools.randomness import generator_for

Pixels = NDArray[np.uint8]

# Photographs and textures without faces, in packages: china and flower are there wherever scikit-learn is.
BACKGROUNDS = {
    "sklearn": [f"datasets/images/{name}.jpg" for name in ("china", "flower")],
    "skimage": [
        f"data/{name}"
        for name in ("coffee.png", "rocket.jpg", "motorcycle_left.png", "grass.png", "brick.png", "gravel.png",
                     "chelsea.png", "coins.png", "hubble_deep_field.jpg")
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Square:
    """A square in pixels of a photograph."""

    left: float
    top: float
    side: float

    def overlap(self, other: Square) -> float:
        """Intersection over union."""
        low = max(self.left, other.left), max(self.top, other.top)
        high = (min(self.left + self.side, other.left + other.side), min(self.top + self.side, other.top + other.side))
        common = max(0.0, high[0] - low[0]) * max(0.0, high[1] - low[1])
        return common / (self.side**2 + other.side**2 - common)


@dataclass(frozen=True)
class Photo:
    """A composed photograph (h, w, 3), the crops that its faces were, and which face is where."""

    pixels: Pixels
    faces: tuple[Square, ...]
    places: tuple[int, ...]  # of the faces in the sequence that `compose` was given


def packaged(files: dict[str, list[str]]) -> list[Path]:
    """The files of packages that are installed; none of the packages is imported."""
    found = []
    for package, names in files.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found += [Path(spec.origin).parent / name for name in names]
    return [path for path in found if path.is_file()]


def compose(
    seed: int, faces: Sequence[Pixels], backgrounds: Sequence[Pixels], size: tuple[int, int] = (640, 480),
    most: int = 8, sides: tuple[int, int] = (28, 130), turn: float = 10.0,
) -> Photo:  # fmt: skip
    """A photograph of `size` (width, height) with 1 to `most` of the faces, which do not overlap.

    `sides` are the smallest and largest side of a crop in pixels, drawn log-uniformly; rotations are normal with a
    standard deviation of `turn` degrees, at most 2.5 of them.
    """
    draw = generator_for(seed, "composed photograph")
    photo = _background(draw, backgrounds[int(draw.integers(len(backgrounds)))], size)
    tinted = bool(draw.random() < 0.5)
    placed: list[Square] = []
    places: list[int] = []
    for _ in range(int(draw.integers(1, most + 1))):
        side = int(np.exp(draw.uniform(*np.log(sides))))
        for _ in range(30):
            left, top = int(draw.integers(size[0] - side)), int(draw.integers(size[1] - side))
            square = Square(left, top, side)
            if all(square.overlap(other) == 0 for other in placed):
                break
        else:
            continue
        places.append(int(draw.integers(len(faces))))
        placed.append(square)
        _paste(draw, photo, faces[places[-1]], square, turn, tinted)
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=int(draw.integers(70, 96)))
    return Photo(np.asarray(Image.open(file)), tuple(placed), tuple(places))


def _background(draw: np.random.Generator, pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """A random part of a photograph, enlarged to `size`, sometimes mirrored."""
    image = Image.fromarray(pixels).convert("RGB")
    scale = min(image.width / size[0], image.height / size[1]) * float(draw.uniform(0.5, 1))
    width, height = size[0] * scale, size[1] * scale
    left, top = draw.uniform(0, image.width - width), draw.uniform(0, image.height - height)
    image = image.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
    values = np.asarray(image)[:, :: -1 if draw.random() < 0.5 else 1]
    return np.clip(values * draw.uniform(0.7, 1.2), 0, 255).astype(np.uint8)


def _paste(
    draw: np.random.Generator, photo: Pixels, face: Pixels, square: Square, turn: float, tinted: bool
) -> None:  # fmt: skip
    side = int(square.side)
    degrees = float(np.clip(draw.normal(0, turn), -2.5 * turn, 2.5 * turn))
    image = Image.fromarray(face).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    edge = np.linspace(-1, 1, side)
    distance = np.sqrt(edge[:, None] ** 2 / 1.1 + edge**2)  # from the centre; a face is higher than wide
    mask = Image.fromarray((255 * np.clip((1.15 - distance) / 0.25, 0, 1)).astype(np.uint8))
    image, mask = (each.rotate(degrees, Image.Resampling.BICUBIC) for each in (image, mask))
    values = np.asarray(image) * draw.uniform(0.6, 1.4)
    if tinted:
        values = values * np.array([1.08, 0.95, 0.84])
    part = photo[int(square.top) : int(square.top) + side, int(square.left) : int(square.left) + side]
    weight = np.asarray(mask)[:, :, None] / 255
    part[:] = np.clip(weight * values + (1 - weight) * part, 0, 255).astype(np.uint8)
