"""The weight of a source: how often each of its training images is in the pack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from data_tools.merging.copies import repeat_row
from data_tools.randomness import digest
from data_tools.reading.manifest import DROPPED, Row


def apply_weights(rows: Sequence[Row], images: dict[str, np.ndarray], weights: Mapping[str, float]) -> list[Row]:
    """Repeat or drop training images so that each source has `weight` times as many; return rows for the repeats.

    In every class each image is taken floor(weight) times, and a fraction of them, chosen by a hash of their ids, once
    more.
    """
    copies: list[Row] = []
    classes: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.packed and row.split == "train" and weights.get(row.source, 1) != 1:
            classes.setdefault((row.source, row.label), []).append(row)
    for (source, _), members in sorted(classes.items()):
        weight = weights[source]
        members.sort(key=lambda row: digest(0, "weight", row.id))
        once_more = round((weight - math.floor(weight)) * len(members))
        for place, row in enumerate(members):
            times = math.floor(weight) + (place < once_more)
            if not times:
                row.status, row.reason = DROPPED, f"merge.weights.{source} is {weight:g}"
            for number in range(1, times):
                copies.append(repeat_row(row, f"repeat{number}", images))
    return copies
