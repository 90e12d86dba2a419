"""A photograph with a box around each face, and bars of the likeliest classes beside it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_LARGEST, _ENLARGED_TO = 2000, 900  # pixels of the longer side: of the drawing, and below which it is enlarged
_BARS = 3  # classes that are shown for a face
_INK, _PAPER, _BAR, _TRACK = (36, 41, 47), (255, 255, 255), (0, 114, 178), (216, 222, 228)
_OUTLINE = (240, 228, 66)  # yellow of Okabe and Ito, within a dark line: seen on light and on dark photographs

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Predicted:
    """A face in a photograph: the square of its crop in pixels, and the probability of each class."""

    square: tuple[int, int, int]  # left, top, side
    probabilities: Sequence[float]


def drawn(photo: NDArray[np.uint8], faces: Sequence[Predicted], classes: Sequence[str]) -> Image.Image:
    """The photograph (h, w) or (h, w, 3) with its faces numbered from 1, in colour.

    Small photographs are enlarged, large ones reduced, so that the text can be read.
    """
    image = Image.fromarray(photo).convert("RGB")
    longer = max(image.size)
    scale = _LARGEST / longer if longer > _LARGEST else max(1, min(6, round(_ENLARGED_TO / longer)))
    if scale != 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(image)
    font = _font(max(12, round(max(image.size) / 75)))
    boxes = [_scaled(face.square, scale) for face in faces]
    for box in boxes:
        pen.rectangle(box, outline=_INK, width=5)
        pen.rectangle((box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), outline=_OUTLINE, width=3)
    taken = list(boxes)
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True), 1):
        panel = _Panel(number, face.probabilities, classes, font)
        place = panel.placed(box, image.size, taken)
        panel.draw(pen, place)
        taken.append((place[0], place[1], place[0] + panel.width, place[1] + panel.height))
    return image


def _scaled(square: tuple[int, int, int], scale: float) -> Rectangle:
    left, top, side = (value * scale for value in square)
    return left, top, left + side, top + side


class _Panel:
    """The number of a face and the bars of its likeliest classes."""

    def __init__(
        self, number: int, probabilities: Sequence[float], classes: Sequence[str], font: ImageFont.FreeTypeFont
    ) -> None:
        order = sorted(range(len(classes)), key=lambda at: -probabilities[at])[:_BARS]
        self.number, self.font = str(number), font
        self.rows = [(_short(classes[at]), float(probabilities[at])) for at in order]
        self.line = round(font.size * 1.35)
        self.pad = round(font.size * 0.4)
        self.names = max(font.getlength(name) for name, _ in self.rows)
        self.first = font.getlength(self.number) + 2 * self.pad
        self.bar, self.percent = round(font.size * 4), font.getlength("100 %")
        self.width = round(self.first + self.names + self.bar + self.percent + 4 * self.pad)
        self.height = self.line * len(self.rows) + self.pad

    def placed(self, box: Rectangle, size: tuple[int, int], taken: Sequence[Rectangle]) -> tuple[float, float]:
        """Left and top: below, right of, left of or above the box, inside the photograph, where it covers least."""
        left, top, right, bottom = box
        places = [(left, bottom), (right, top), (left - self.width, top), (left, top - self.height),
                  (right - self.width, bottom), (right - self.width, top - self.height)]  # fmt: skip
        places = [
            (min(max(x, 0), max(size[0] - self.width, 0)), min(max(y, 0), max(size[1] - self.height, 0)))
            for x, y in places
        ]
        return min(places, key=lambda place: self._covers(place, taken))

    def _covers(self, place: tuple[float, float], taken: Sequence[Rectangle]) -> float:
        x, y = place
        return sum(
            max(0.0, min(x + self.width, right) - max(x, left)) * max(0.0, min(y + self.height, bottom) - max(y, top))
            for left, top, right, bottom in taken
        )

    def draw(self, pen: ImageDraw.ImageDraw, place: tuple[float, float]) -> None:
        """Draw it with its left upper corner at `place`."""
        x, y = place
        pen.rectangle((x, y, x + self.width, y + self.height), fill=_PAPER, outline=_INK)
        pen.rectangle((x, y, x + self.first, y + self.height), fill=_INK)
        pen.text((x + self.pad, y + self.pad / 2), self.number, _OUTLINE, self.font)
        for row, (name, probability) in enumerate(self.rows):
            top = y + self.pad / 2 + row * self.line
            start = x + self.first + self.pad
            pen.text((start, top), name, _INK, self.font)
            bar = start + self.names + self.pad
            edges = (top + self.line * 0.25, top + self.line * 0.75)
            pen.rectangle((bar, edges[0], bar + self.bar, edges[1]), fill=_TRACK)
            if probability > 0:
                pen.rectangle((bar, edges[0], bar + self.bar * min(probability, 1), edges[1]), fill=_BAR)
            pen.text((bar + self.bar + self.pad, top), f"{100 * probability:.0f} %", _INK, self.font)


def _short(name: str, length: int = 18) -> str:
    line = " ".join("".join(letter if letter.isprintable() else "?" for letter in name).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib has inside and which knows most alphabets; matplotlib is not imported."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None  # a dependency of the project
    assert spec.origin is not None
    return ImageFont.truetype(Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)
