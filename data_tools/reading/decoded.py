"""Decoded images, kept beside the packs until the pack is written, so that an interrupted `prepare` can continue."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import PIL

from data_tools.reading.manifest import COLUMNS, Row
from data_tools.reading.value_range import Span
from data_tools.sources.base import Fingerprint
from foundation.errors import UserError
from foundation.files import atomic_path, read_json, write_json

FORMAT_VERSION = 3  # raise it when decoding or resizing changes

_KINDS, _ARRAYS = ("uint8", "uint16", "float32"), ("image", "thumbnail")

# A part is written after this many images or seconds, whichever comes first.
PART_IMAGES = 4096
PART_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image after reading: its row, its pixels and its thumbnail; these are None if it was set aside.

    Both are uint8, or uint16 or float32 while the range of their values is not decided; then `span` is that of the
    image at its own size.
    """

    row: Row
    image: np.ndarray | None  # (size, size, channels)
    thumbnail: np.ndarray | None  # (48, 48)
    span: Span | None = None


class DecodedStore:
    """The decoded images of one state of one source, in order, in files (parts) that are complete or absent.

    A part that cannot be read counts as absent. If the disk is full, the store is removed and the run continues.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complete = False  # whether `load` has found every image of the source
        self.ignored = 0  # the source's own count, known once it is complete
        self._parts = 0
        self._pending: list[Decoded] = []
        self._since = time.monotonic()
        self._broken = False

    def load(self) -> list[Decoded]:
        """The images that earlier runs have stored, up to the first part that is missing or damaged."""
        found: list[Decoded] = []
        try:
            while True:
                found += _read_part(self._path(self._parts))
                self._parts += 1
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            pass  # no further part
        try:
            end = read_json(self.folder / "complete.json")
            self.complete = end["images"] == len(found)
            self.ignored = end["ignored"] if self.complete else 0
        except (UserError, OSError, KeyError, TypeError):
            self.complete = False
        return found

    def add(self, decoded: Decoded) -> None:
        """Store the next image in the order of the source."""
        if self._broken:
            return
        self._pending.append(decoded)
        if len(self._pending) >= PART_IMAGES or time.monotonic() - self._since > PART_SECONDS:
            self._write()

    def finish(self, images: int, ignored: int) -> None:
        """Mark the source as complete: it has given `images` images and skipped `ignored` other files."""
        if self._pending:
            self._write()
        if not self._broken and not self.complete:
            try:
                write_json(self.folder / "complete.json", {"images": images, "ignored": ignored})
            except OSError:
                self.give_up()

    def give_up(self) -> None:
        """Remove the store and store nothing further."""
        self._broken, self._pending = True, []
        self.remove()

    def remove(self) -> None:
        """Remove the stored parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        try:
            _write_part(self._path(self._parts), self._pending)
        except OSError:
            self.give_up()
            return
        self._parts, self._pending, self._since = self._parts + 1, [], time.monotonic()

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05}.npz"


class DecodedStores:
    """The stores of all sources of a pack, below `folder`. `options` holds the options that decoding depends on.

    As a context manager it removes the stores when the block succeeds or ends with an error that the person has to
    correct. After an interruption, a kill or a crash they stay for the next run.
    """

    def __init__(self, folder: Path, fingerprints: Mapping[str, Fingerprint], options: dict[str, Any]) -> None:
        versions = {"format": FORMAT_VERSION, "columns": COLUMNS, "pillow": PIL.__version__, "numpy": np.__version__}
        self._stores: dict[str, DecodedStore] = {}
        for name, fingerprint in fingerprints.items():
            safe = "".join(letter if letter.isalnum() else "_" for letter in name)
            prefix = f".decoded-{safe}-{_digest({'source': name, **versions, **options})}-"
            store = DecodedStore(folder / (prefix + _digest(fingerprint)))
            for old in folder.glob(f"{prefix}*"):
                if old != store.folder:  # of an earlier state of the source
                    shutil.rmtree(old, ignore_errors=True)
            self._stores[name] = store

    def __getitem__(self, source: str) -> DecodedStore:
        return self._stores[source]

    def __enter__(self) -> DecodedStores:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or isinstance(error, UserError | OSError):
            for store in self._stores.values():
                store.remove()


def _write_part(path: Path, decoded: Sequence[Decoded]) -> None:
    rows = [
        [asdict(one.row), one.image is not None and one.image.dtype.name, one.span and asdict(one.span)]
        for one in decoded
    ]
    arrays: dict[str, list[np.ndarray]] = {f"{what} {kind}": [] for what in _ARRAYS for kind in _KINDS}
    for one in decoded:
        for what, array in zip(_ARRAYS, (one.image, one.thumbnail), strict=True):
            if array is not None:
                arrays[f"{what} {array.dtype.name}"].append(array)
    text = np.frombuffer(
        json.dumps(rows).encode(), np.uint8
    )  # as bytes, because NumPy stores strings of any length as pickles
    with atomic_path(path) as temporary:
        stacks = {name: np.stack(own) if own else np.zeros(0, np.uint8) for name, own in arrays.items()}
        np.savez(temporary, allow_pickle=False, rows=text, **stacks)


def _read_part(path: Path) -> list[Decoded]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
        rows = json.loads(part["rows"].tobytes())
        arrays = {kind: zip(*(part[f"{what} {kind}"] for what in _ARRAYS), strict=True) for kind in _KINDS}
        found = []
        for row, kind, span in rows:
            image, thumbnail = next(arrays[kind]) if kind else (None, None)
            found.append(Decoded(Row(**row), image, thumbnail, Span(**span) if span else None))
        return found


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
