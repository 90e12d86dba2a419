"""Bring the training classes to one size: trim where there are too many, make warped copies where too few."""

from __future__ import annotations

import numpy as np

from data_tools.augmentation import warp
from data_tools.config import BalanceConfig
from data_tools.images import canonical, pixels_sha256
from data_tools.manifest import MADE, TRIMMED, Row
from data_tools.randomness import digest, generator_for


def balance(rows: list[Row], images: dict[str, np.ndarray], config: BalanceConfig) -> list[Row]:
    """Trim among the training rows in place, and return new rows for the copies, whose images go into `images`.

    Choice and warp follow from the seed and the ids alone. A class's images serve as parents in turn, so that none
    has two copies more than another.
    """
    if config.target is None:
        return []
    classes: dict[str, list[Row]] = {}
    for row in rows:
        if row.packed and row.split == "train":
            classes.setdefault(row.label, []).append(row)
    made = []
    for label in sorted(classes):
        members = sorted(classes[label], key=lambda row: digest(config.seed, row.id))
        if config.trim:
            for row in members[config.target :]:
                row.status, row.reason = TRIMMED, f"class {label} is full with {config.target} images"
        for index in range(config.target - len(members)):
            number, parent = divmod(index, len(members))
            made.append(_copy(members[parent], number + 1, images, config))
    return made


def _copy(parent: Row, number: int, images: dict[str, np.ndarray], config: BalanceConfig) -> Row:
    generator = generator_for(config.seed, parent.id, number)
    image = warp(images[parent.id], generator, config.rotation, config.shift, config.zoom, config.flip)
    row = Row(
        id=f"{parent.id}#copy{number}",
        source=parent.source,
        path=parent.path,
        original_split=parent.original_split,
        raw_label=parent.raw_label,
        label=parent.label,
        pixels_sha256=pixels_sha256(canonical(image)),
        group=parent.group,
        status=MADE,
        split=parent.split,
        parent=parent.id,
    )
    images[row.id] = image
    return row
