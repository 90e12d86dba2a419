"""Stream the sources into rows of the manifest and images of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from data_tools.images import ImageError, bytes_sha256, canonical, decode, fit, pixels_sha256
from data_tools.labels import LabelMap
from data_tools.manifest import SET_ASIDE, Row
from data_tools.sources.base import Entry, Source


@dataclass
class Collection:
    """All input images. `images` holds uint8 (size, size, channels) under the id of every row that is not set aside."""

    rows: list[Row] = field(default_factory=list)
    images: dict[str, np.ndarray] = field(default_factory=dict)


def read(
    sources: Iterable[Source], labels: Mapping[str, LabelMap], size: int, channels: int, advance: Callable[[], object]
) -> Collection:
    """Read every entry of every source; `advance()` is called for each. What is unusable is set aside with a reason.

    `labels` has a map for every source.
    """
    collection = Collection()
    seen: dict[str, int] = {}
    for source in sources:
        for entry in source.entries():
            row = Row(f"{entry.source}:{entry.path}", entry.source, entry.path, entry.original_split, entry.label)
            times = seen[row.id] = seen.get(row.id, 0) + 1
            if times > 1:  # an archive may hold one path twice
                row.id += f"#{times}"
            pixels = _examine(entry, row, labels[source.name])
            collection.rows.append(row)
            if pixels is not None:
                collection.images[row.id] = fit(pixels, size, channels)
            advance()
    return collection


def _examine(entry: Entry, row: Row, labels: LabelMap) -> np.ndarray | None:
    """Fill in label, hashes and status; return canonical pixels, or None if the image is set aside."""
    row.label = labels(entry.label) or ""
    try:
        if entry.error:
            raise ImageError(entry.error)
        if entry.data is not None:
            row.bytes_sha256 = bytes_sha256(entry.data)
            pixels = decode(entry.data)
        else:
            assert entry.pixels is not None
            row.bytes_sha256 = bytes_sha256(entry.pixels.tobytes())
            pixels = canonical(entry.pixels)
        row.pixels_sha256 = pixels_sha256(pixels)
        if not row.label:
            raise ImageError(f"unknown label '{entry.label}'")
    except ImageError as error:
        row.status, row.reason = SET_ASIDE, str(error)
        return None
    return pixels
