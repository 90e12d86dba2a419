"""The pack: a folder with all data that training needs, which is written completely or not at all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.config import FORMAT_VERSION, DataConfig
from data_tools.reading.manifest import KEPT, MADE, Row, write_manifest
from data_tools.reading.read import Collection
from data_tools.sources.base import SPLITS, Fingerprint
from foundation.files import atomic_folder, write_json
from foundation.pack_hash import content_hash

Counts = dict[str, dict[str, dict[str, int]]]


def write_pack(
    folder: Path,
    collection: Collection,
    data: DataConfig,
    options: dict[str, Any],
    sources: dict[str, Fingerprint],
    class_weights: dict[str, float] | None = None,
    origin: str = "",
    also: Callable[[Path], object] = lambda folder: None,
) -> dict[str, Any]:
    """Write a merged collection to `folder`, replacing an older pack, and return the content of `pack.json`.

    The arrays are images.npy uint8 (n, size, size, channels), labels.npy int64 (n,) and splits.npy uint8 (n,), indices
    of `split_names`, sorted by split and id; if a row has votes also targets.npy float32 (n, classes). `origin` tells
    people where the sources were. `also(folder)` may write more files before the folder is renamed. Raises `OSError`
    (such as a full disk) and then leaves nothing behind.
    """
    packed = sorted((row for row in collection.rows if row.packed), key=lambda row: (SPLITS.index(row.split), row.id))
    for position, row in enumerate(packed):
        row.pack_row = position
    images = np.stack([collection.images[row.id] for row in packed])
    labels = np.array([data.classes.index(row.label) for row in packed], np.int64)
    splits = np.array([SPLITS.index(row.split) for row in packed], np.uint8)
    targets = np.stack([_target(row, data.classes) for row in packed]) if any(row.votes for row in packed) else None
    description = {
        "format_version": FORMAT_VERSION,
        "name": data.name,
        "classes": list(data.classes),
        "split_names": list(SPLITS),
        "image_size": data.image_size,
        "channels": data.channels,
        "images": len(packed),
        "content_hash": content_hash(images, labels, splits, data.classes, targets),
        "counts": {
            "input": count((row for row in collection.rows if row.status != MADE), "original_split"),
            "kept": count((row for row in packed if row.status == KEPT), "split"),
            "made": count((row for row in packed if row.status == MADE), "split"),
        },
        "class_weights": class_weights,
        # The value that became 255, of every source with images of more than 8 bits: prediction needs it.
        "value_tops": dict(sorted(collection.tops.items())),
        "statuses": dict(sorted(Counter(row.status for row in collection.rows).items())),
        "options": options,
        "sources": sources,
        "origin": origin,
    }
    with atomic_folder(folder) as temporary:
        for name, array in (("images", images), ("labels", labels), ("splits", splits), ("targets", targets)):
            if array is not None:
                write_array(temporary / f"{name}.npy", array)
        write_manifest(temporary / "manifest.csv", collection.rows)
        write_json(temporary / "pack.json", description)
        also(temporary)
    return description


def _target(row: Row, classes: Sequence[str]) -> np.ndarray:
    """The distribution that a row is trained with, float32 (classes,): its votes, or all on its label."""
    votes = json.loads(row.votes) if row.votes else {row.label: 1.0}
    target = np.array([votes.get(name, 0.0) for name in classes], np.float64)
    return (target / target.sum()).astype(np.float32)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file. Unlike with `numpy.save`, the `OSError` of a full disk has its errno."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def count(rows: Iterable[Row], split: str) -> Counts:
    """Images per source, split (the column `split` names) and class; '' is the unknown class."""
    counts: Counts = {}
    for row in rows:
        classes = counts.setdefault(row.source, {}).setdefault(getattr(row, split), {})
        classes[row.label] = classes.get(row.label, 0) + 1
    return counts
