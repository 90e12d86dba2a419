"""What an interrupted `prepare` had decoded, kept beside the packs until a pack is made of it."""

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

from data_tools.manifest import COLUMNS, Row
from data_tools.sources.base import Fingerprint
from foundation.errors import UserError
from foundation.files import atomic_path, read_json, write_json

FORMAT_VERSION = 1  # raise it when images are decoded or fitted otherwise than before

# A part is written after so many images or seconds, whichever comes first: an interruption costs no more than that.
PART_IMAGES = 4096
PART_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as reading leaves it: its row, and uint8 (size, size, channels) unless it was set aside."""

    row: Row
    image: np.ndarray | None


class DecodedStore:
    """The decoded images of one source in one state, in order, in parts that are whole or absent.

    It is a convenience: what cannot be read counts as absent, and a disk that is full ends the keeping, not the run.
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
        """What earlier runs have left here, up to the first part that is missing or damaged."""
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
        """Keep one image more, in the source's order."""
        if self._broken:
            return
        self._pending.append(decoded)
        if len(self._pending) >= PART_IMAGES or time.monotonic() - self._since > PART_SECONDS:
            self._write()

    def finish(self, images: int, ignored: int) -> None:
        """The source has given its last image, the `images`-th, and has passed over `ignored` other files."""
        if self._pending:
            self._write()
        if not self._broken and not self.complete:
            try:
                write_json(self.folder / "complete.json", {"images": images, "ignored": ignored})
            except OSError:
                self.give_up()

    def give_up(self) -> None:
        """Keep nothing of this source, and nothing more."""
        self._broken, self._pending = True, []
        self.remove()

    def remove(self) -> None:
        """Free the space."""
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
    """The stores of all sources of a pack, below `folder`; `options` is what decoding depends on.

    As a context: whether the block succeeds or ends in an error that a person has to mend, nothing stays. After an
    interruption, a kill or a crash, the next run finds what there is.
    """

    def __init__(self, folder: Path, fingerprints: Mapping[str, Fingerprint], options: dict[str, Any]) -> None:
        versions = {"format": FORMAT_VERSION, "columns": COLUMNS, "pillow": PIL.__version__, "numpy": np.__version__}
        self._stores: dict[str, DecodedStore] = {}
        for name, fingerprint in fingerprints.items():
            safe = "".join(letter if letter.isalnum() else "_" for letter in name)
            prefix = f".decoded-{safe}-{_digest({'source': name, **versions, **options})}-"
            store = DecodedStore(folder / (prefix + _digest(fingerprint)))
            for old in folder.glob(f"{prefix}*"):
                if old != store.folder:  # the source has changed since
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
    rows = [[asdict(one.row), one.image is not None] for one in decoded]
    images = [one.image for one in decoded if one.image is not None]
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8)  # as bytes: the format of strings would need a pickle
    with atomic_path(path) as temporary:
        np.savez(temporary, rows=text, images=np.stack(images) if images else np.zeros(0, np.uint8))


def _read_part(path: Path) -> list[Decoded]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
        rows, images = json.loads(part["rows"].tobytes()), iter(part["images"])
    return [Decoded(Row(**row), next(images) if has_image else None) for row, has_image in rows]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
