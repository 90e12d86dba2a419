"""Balance the training classes: drop images where there are too many, add copies where there are too few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from data_tools.config import BalanceConfig
from data_tools.merging.augmentation import warp
from data_tools.merging.copies import copy_row, repeat_row
from data_tools.randomness import digest, generator_for
from data_tools.reading.manifest import TRIMMED, Row


def balance(rows: Sequence[Row], images: dict[str, np.ndarray], config: BalanceConfig) -> list[Row]:
    """Mark surplus training rows as trimmed, and return new rows for the copies; their images are added to `images`.

    `augment_to` adds augmented copies up to `target`, and trims down to it if `trim`. `oversample` repeats images up
    to `target`, or to the largest class. `undersample` trims down to `target`, or to the smallest class. `none` and
    `class_weight` change nothing. Selection and warp depend only on the seed and the ids. The images of a class are
    copied in turn, so that their numbers of copies differ by at most 1.
    """
    classes: dict[str, list[Row]] = {}
    for row in rows:
        if row.packed and row.split == "train":
            classes.setdefault(row.label, []).append(row)
    target = _target(classes, config)
    if target is None:
        return []
    grows, shrinks = config.method != "undersample", config.method == "undersample" or config.trim
    copies = []
    for label in sorted(classes):
        members = sorted(classes[label], key=lambda row: digest(config.seed, row.id))
        if shrinks:
            for row in members[target:]:
                row.status, row.reason = TRIMMED, f"class {label} is full with {target} images"
        for index in range(target - len(members) if grows else 0):
            number, parent = divmod(index, len(members))
            copies.append(_copy(members[parent], number + 1, images, config))
    return copies


def class_weights(rows: Iterable[Row], classes: Sequence[str]) -> dict[str, float]:
    """Training images / (classes * training images of the class): scikit-learn's "balanced" (King and Zeng 2001)."""
    counts = Counter(row.label for row in rows if row.packed and row.split == "train")
    return {name: sum(counts.values()) / (len(classes) * counts[name]) for name in classes}


def _target(classes: dict[str, list[Row]], config: BalanceConfig) -> int | None:
    sizes = [len(members) for members in classes.values()]
    if config.method in ("none", "class_weight") or not sizes:
        return None
    if config.target is None and config.method == "oversample":
        return max(sizes)
    if config.target is None and config.method == "undersample":
        return min(sizes)
    return config.target


def _copy(parent: Row, number: int, images: dict[str, np.ndarray], config: BalanceConfig) -> Row:
    if config.method == "oversample":
        return repeat_row(parent, f"again{number}", images)
    generator = generator_for(config.seed, parent.id, number)
    image = warp(images[parent.id], generator, config.rotation, config.shift, config.zoom, config.flip)
    return copy_row(parent, f"copy{number}", image, images)
