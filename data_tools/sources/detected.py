"""What was found at a path, and the sentences that tell it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.sources.base import SPLITS

NO_LABEL = "image"  # the label that images without labels have in common, so that they can be read


@dataclass(frozen=True, slots=True)
class Detected:
    """What was found. `make_source(name, str(named(path).parent), config)` reads it."""

    kind: str
    options: dict[str, Any]
    classes: tuple[str, ...]  # sorted as found; () for images without labels, whose source labels them all `NO_LABEL`
    splits: tuple[str, ...]  # those that the data names
    image_size: int
    channels: int
    lines: tuple[str, ...]  # what was found, as short sentences

    @property
    def config(self) -> dict[str, Any]:
        """The kind of source and its options, as in `data.sources`."""
        return {"kind": self.kind, **self.options}


def named(path: Path) -> Path:
    """The path with a name as its last part: `.` and the like stand for the folder that they mean."""
    return path.resolve() if path.name in ("", "..", ".") else path


def classes_line(classes: Collection[str]) -> str:
    """How many classes, and the first names."""
    if not classes:
        return "No labels."
    shown = ", ".join(list(classes)[:12]) + (", ..." if len(classes) > 12 else "")
    return f"{len(classes)} {'classes' if len(classes) > 1 else 'class'}: {shown}."


def splits_line(splits: dict[str, int]) -> str:
    """The number of images in each split ('' is none), and which splits are drawn."""
    if not in_order(splits):
        return "No splits: validation and test are drawn from all images."
    named = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS if splits.get(split))
    lacking = [split for split in SPLITS[1:] if not splits.get(split)]
    drawn = f"; {' and '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} drawn from train" if lacking else ""
    return f"Splits: {named}{drawn}."


def in_order(splits: dict[str, int]) -> tuple[str, ...]:
    """The splits that have images."""
    return tuple(split for split in SPLITS if splits.get(split))
