"""The interface of a source: a stream of entries, and a fingerprint that changes with the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SPLITS = ("train", "validation", "test")

# Identifies the state of a source: numbers and strings, stored in pack.json and compared for equality.
Fingerprint = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One image as its source provides it, or the reason why the source refuses it.

    Exactly one of `data`, `pixels` and `error` is set.
    """

    source: str  # name of the source, as in the config
    path: str  # as in the archive or below the folder, with forward slashes; unique within the source
    original_split: str  # 'train', 'validation', 'test', or '' if the source has no splits
    label: str  # class name as written by the source, before the label map
    data: bytes | None = None  # an encoded image file
    pixels: np.ndarray | None = None  # decoded, uint8, (height, width) grey or (height, width, 3) RGB
    error: str = ""  # short reason for a refused entry
    votes: tuple[tuple[str, float], ...] = ()  # for soft labels: how much of the votes each class name has


class Source(Protocol):
    """A named stream of entries. Sources are only read, never written to.

    Each call of `entries()` starts from the beginning; the order has no meaning. Other files beside the images (a
    licence, a thumbnail cache) are not entries: the source counts them in `ignored` while it streams.
    """

    name: str
    ignored: int

    def entries(self) -> Iterator[Entry]:
        """Stream every image of the source once. Raises `UserError` if the source cannot be used at all."""
        ...

    def fingerprint(self) -> Fingerprint:
        """Identity of the current state of the source, cheap to compute; it differs for a changed source."""
        ...

    def expected(self) -> int | None:
        """The number of entries, for a progress bar; None if counting them would be slow."""
        ...


class WrappedSource:
    """A source that changes the entries of another one: a subclass has `entries`, and extends the fingerprint."""

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self._source = source

    @property
    def ignored(self) -> int:
        """The number of files that the other source ignored."""
        return self._source.ignored

    @ignored.setter
    def ignored(self, number: int) -> None:
        self._source.ignored = number

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the other source."""
        return self._source.fingerprint()

    def expected(self) -> int | None:
        """The number of entries of the other source."""
        return self._source.expected()
