"""CIFAR-10 and CIFAR-100 as published (Krizhevsky 2009): binary batches, and Python's without unpickling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from data_tools.sources.base import Entry
from data_tools.sources.contained import Contained
from data_tools.sources.containers import Container, Member, MemberError, damaged
from data_tools.sources.safe_pickle import LARGEST, PickleError, read_pickle
from foundation.errors import UserError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
_BATCH = re.compile(r"^(data_batch_(?P<number>\d{1,2})|(?P<test>test_batch))(?P<binary>\.bin)?$")
_META = ("batches.meta.txt", "batches.meta", "fine_label_names.txt", "meta")
_FINE = {"train": "train", "test": "test", "train.bin": "train", "test.bin": "test"}  # CIFAR-100


def batch_split(path: str, hundred: bool = False) -> str | None:
    """The split of a batch, by its name; None for other files. `hundred`: with the names of CIFAR-100's files."""
    name = PurePosixPath(path).name
    if hundred:
        return _FINE.get(name)
    found = _BATCH.match(name)
    return None if found is None else "test" if found["test"] else "train"


def is_hundred(paths: Sequence[str]) -> bool:
    """Whether the files are CIFAR-100's, whose names are less telling: both splits and the names of classes."""
    names = {PurePosixPath(path).name for path in paths}
    return {"train", "test", "meta"} <= names or {"train.bin", "test.bin", "fine_label_names.txt"} <= names


def is_batch(path: str) -> bool:
    """Whether the name is that of any of CIFAR's files, one of names included."""
    return batch_split(path) is not None or batch_split(path, hundred=True) is not None or is_names(path)


def is_names(path: str) -> bool:
    """Whether the name is that of the file with the names of the classes."""
    return PurePosixPath(path).name in _META


class CifarBatches(Contained):
    """All batches of a folder or an archive. One batch is in memory at a time.

    The labels are the names that the file of names gives, or without it the numbers. If both formats are there, the
    binary one is read. `seen` are the members of the container, of which batches can be opened at any time: see
    `surveyed`.
    """

    def __init__(self, name: str, container: Container, seen: list[Member]) -> None:
        super().__init__(name, container)
        self._seen = seen
        files = [member.path for member in seen if member.open is not None]
        self._hundred = is_hundred(files)
        batches = [path for path in files if batch_split(path, self._hundred)]
        binary = [path for path in batches if path.endswith(".bin")]
        self._batches = set(binary or batches)
        self._meta = next((path for meta in _META for path in files if PurePosixPath(path).name == meta), None)

    def entries(self) -> Iterator[Entry]:
        """Stream the images of every batch. Raises `UserError` for a damaged file and for any other pickle."""
        self.ignored = (
            sum(1 for member in self._seen if member.open is not None) - len(self._batches) - bool(self._meta)
        )
        with damaged(self._container.path):
            names = self._names()
            for member in self._seen:
                if member.path in self._batches and member.open is not None:
                    yield from self._batch(member, names)

    def _names(self) -> list[str]:
        """The names of the classes, [] if there is no file of them."""
        for member in self._seen:
            if member.path == self._meta and member.open is not None:
                return self._checked(member, class_names)
        return []

    def _batch(self, member: Member, names: list[str]) -> Iterator[Entry]:
        binary = member.path.endswith(".bin")
        images, labels = self._checked(
            member, lambda data: read_binary(data, self._hundred) if binary else read_python(data)
        )
        split = batch_split(member.path, self._hundred) or ""
        for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            path = f"{member.path}:{index}"
            if names and not label < len(names):
                yield Entry(self.name, path, split, str(label), error=f"there is no class number {label}")
            else:
                yield Entry(self.name, path, split, names[label] if names else str(label), pixels=pixels)

    def _checked(self, member: Member, parse: Any) -> Any:
        assert member.open is not None
        where = f"data source '{self.name}': {member.path} in {self._container.path}"
        try:
            with member.open() as stream:
                return parse(stream.read(LARGEST + 1))
        except (MemberError, ValueError) as error:
            raise UserError(f"{where} {error}") from error
        except PickleError as error:
            raise UserError(f"{where} is not a batch of CIFAR that can be read safely: it {error}") from error


def class_names(data: bytes) -> list[str]:
    """The names in `batches.meta` or `meta`, which are pickles, or in a text file of names.

    Raises `PickleError` or ValueError.
    """
    if re.fullmatch(rb"[\w \r\n/-]*", data):
        names = [line.strip() for line in data.decode("utf-8", "backslashreplace").splitlines()]
        return [name for name in names if name]
    content = read_pickle(data)
    listed = content.get("label_names", content.get("fine_label_names")) if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise PickleError("has no label_names")
    return [name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in listed]


def read_binary(data: bytes, hundred: bool) -> tuple[np.ndarray, list[int]]:
    """Images (n, 32, 32, 3) and labels of a binary batch; CIFAR-100's rows have two labels. Raises ValueError."""
    row = PIXELS + (2 if hundred else 1)
    if not data or len(data) % row:
        raise ValueError(f"has {len(data):,} bytes, not a multiple of {row:,}: it is damaged or incomplete")
    rows = np.frombuffer(data, np.uint8).reshape(-1, row)
    return images_of(rows[:, -PIXELS:]), rows[:, row - PIXELS - 1].tolist()


def read_python(data: bytes) -> tuple[np.ndarray, list[int]]:
    """Images (n, 32, 32, 3) and labels of a batch for Python. Raises `PickleError` or ValueError."""
    content = read_pickle(data)
    pixels = content.get("data") if isinstance(content, dict) else None
    labels = content.get("labels", content.get("fine_labels")) if isinstance(content, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise PickleError("has no data of 3,072 bytes a row")
    if not isinstance(labels, list) or not all(type(label) is int and label >= 0 for label in labels):
        raise PickleError("has no list of labels")
    if len(labels) != len(pixels):
        raise ValueError(f"has {len(pixels):,} images, but {len(labels):,} labels")
    return images_of(pixels), labels


def images_of(rows: np.ndarray) -> np.ndarray:
    """Rows of 3,072 bytes, a plane for each colour, as images (n, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
