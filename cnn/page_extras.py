"""What a page of faces has besides its network: drawn faces as examples, nobody's photograph, and a detector."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from cnn.exporting.card import of_faces
from cnn.exporting.network import Portable
from cnn.exporting.page_faces import FaceDetector, face_detector
from cnn.exporting.page_file import Example
from cnn.photos.mtcnn import PACKAGE
from data_tools.sources.face_drawing import CLASSES, draw_face
from data_tools.sources.toy_faces import COLLECTIONS
from foundation.errors import UserError


def detector_for(network: Portable, faces: str) -> FaceDetector | None:
    """The detector by the option `faces`: find, none, or auto: for a network of faces, where the weights are installed.

    Raises `UserError` for another value, and for find without the weights.
    """
    if faces not in ("auto", "find", "none"):
        raise UserError(f"faces is {faces!r}; choose auto, find or none")
    if faces == "none" or (faces == "auto" and not (of_faces(network) and find_spec(PACKAGE) is not None)):
        return None
    return face_detector()


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
