"""What a source of images is: a stream of entries, and a fingerprint that tells when it has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SPLITS = ("train", "validation", "test")

# What identifies the state of a source: plain numbers and strings, kept in pack.json and compared for equality.
Fingerprint = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One image as its source offers it, or the reason why the source refuses it.

    Exactly one of `data`, `pixels` and `error` is set.
    """

    source: str  # name of the source, as in the config
    path: str  # as in the archive or below the folder, with forward slashes; unique within the source
    original_split: str  # 'train', 'validation', 'test', or '' where the source has no splits
    label: str  # class name as the source writes it; the label map comes later
    data: bytes | None = None  # an encoded image file
    pixels: np.ndarray | None = None  # decoded, uint8, (height, width) grey or (height, width, 3) RGB
    error: str = ""  # short reason for a refused entry


class Source(Protocol):
    """A named stream of entries. Reading it never writes to it.

    `entries()` may be called again and then starts anew; its order carries no meaning. What lies beside the images
    (a licence, a thumbnail cache) is no entry: the source counts it in `ignored` while it streams.
    """

    name: str
    ignored: int

    def entries(self) -> Iterator[Entry]:
        """Stream every image of the source once. Raises `UserError` if the source as a whole is unusable."""
        ...

    def fingerprint(self) -> Fingerprint:
        """Cheap identity of the source's present state; a changed source gives another one."""
        ...

    def expected(self) -> int | None:
        """How many entries are to come, for a progress bar; None if that is not cheaply known."""
        ...
