"""Rows of the manifest for copies that the merge adds."""

from __future__ import annotations

import numpy as np

from data_tools.reading.images import canonical, pixels_sha256
from data_tools.reading.manifest import MADE, Row


def copy_row(parent: Row, name: str, image: np.ndarray, images: dict[str, np.ndarray]) -> Row:
    """A row for `image`, a copy of `parent`; the image is added to `images`."""
    row = Row(
        id=f"{parent.id}#{name}",
        source=parent.source,
        path=parent.path,
        original_split=parent.original_split,
        raw_label=parent.raw_label,
        label=parent.label,
        pixels_sha256=pixels_sha256(canonical(image)),
        group=parent.group,
        status=MADE,
        split=parent.split,
        votes=parent.votes,
        parent=parent.parent or parent.id,  # a copy of a repeat is a copy of the image itself
    )
    images[row.id] = image
    return row


def repeat_row(parent: Row, name: str, images: dict[str, np.ndarray]) -> Row:
    """A row that repeats the image of `parent` unchanged."""
    return copy_row(parent, name, images[parent.id], images)
