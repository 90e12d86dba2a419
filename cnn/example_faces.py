"""Drawn faces as examples for a page, so that nobody's photograph is in it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from cnn.exporting.page_file import Example
from data_tools.sources.face_drawing import CLASSES, draw_face
from data_tools.sources.toy_faces import COLLECTIONS


def drawn_faces(classes: Sequence[str], seed: int = 11) -> list[Example]:
    """A face for each of the network's classes that can be drawn; none if it knows fewer than three of them."""
    known = [name for name in CLASSES if name in {each.lower() for each in classes}]
    if len(known) < 3:
        return []
    style, found = COLLECTIONS["toy_studio"].style, []
    for number, name in enumerate(known):
        file = io.BytesIO()
        draw_face(np.random.default_rng([seed, number]), name, style).save(file, format="PNG")
        found.append(Example(f"drawn face, {name}", file.getvalue()))
    return found
