"""MNIST's format, IDX: a file of images and a file of labels for each split, compressed or not (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from data_tools.sources.base import Entry
from data_tools.sources.contained import Contained
from data_tools.sources.containers import Container, Member, MemberError, damaged
from foundation.errors import UserError

LARGEST = 2**30  # bytes of an unpacked file: MNIST's largest has 47 MB, EMNIST's 550 MB

# train-images-idx3-ubyte.gz, t10k-labels.idx1-ubyte, emnist-letters-test-images-idx3-ubyte
_NAME = re.compile(
    r"(?P<set>.*?)(?P<split>train|t10k|test)[-_. ](?P<what>images|labels)[-_. ]?idx[13][-_.]?ubyte(\.gz)?",
    re.IGNORECASE,
)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}


@dataclass(frozen=True, slots=True)
class IdxName:
    """What the name of an IDX file says."""

    collection: str  # what stands before the split, '' in MNIST
    split: str
    what: str  # images or labels


def idx_name(path: str) -> IdxName | None:
    """What the name of a file says, None if it is not a name of MNIST's files."""
    found = _NAME.fullmatch(PurePosixPath(path).name)
    return IdxName(found["set"], _SPLITS[found["split"].lower()], found["what"].lower()) if found else None


class IdxImages(Contained):
    """The images and labels of both splits; the labels are the numbers as text. One split is in memory at a time.

    `seen` are the members of the container, of which IDX files can be opened at any time: see `surveyed`.
    """

    def __init__(self, name: str, container: Container, seen: list[Member]) -> None:
        super().__init__(name, container)
        self._seen = seen
        self._pairs = self._choose(seen)

    def entries(self) -> Iterator[Entry]:
        """Stream the images of every split. Raises `UserError` if a file is missing or damaged."""
        self.ignored = sum(1 for member in self._seen if member.open is not None) - 2 * len(self._pairs)
        wanted = {path: (split, what) for split, pair in self._pairs.items() for what, path in pair.items()}
        arrays: dict[str, dict[str, np.ndarray]] = {}
        with damaged(self._container.path):
            for member in self._seen:
                if member.path not in wanted or member.open is None:
                    continue
                split, what = wanted.pop(member.path)
                arrays.setdefault(split, {})[what] = self._read(member, 3 if what == "images" else 1)
                if len(arrays[split]) == 2:
                    yield from self._split(split, **arrays.pop(split))

    def _split(self, split: str, images: np.ndarray, labels: np.ndarray) -> Iterator[Entry]:
        paths = self._pairs[split]
        if len(images) != len(labels):
            raise UserError(
                f"data source '{self.name}': {paths['images']} has {len(images):,} images, but {paths['labels']} has "
                f"{len(labels):,} labels"
            )
        for index, (pixels, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            yield Entry(self.name, f"{paths['images']}:{index}", split, str(label), pixels=pixels)

    def _choose(self, seen: list[Member]) -> dict[str, dict[str, str]]:
        """The paths of images and labels of each split; of a file that is there twice the first."""
        found: dict[str, dict[str, dict[str, str]]] = {}
        for member in sorted(seen, key=lambda member: (member.path.count("/"), member.path)):
            if member.open is not None and (name := idx_name(member.path)) is not None:
                found.setdefault(name.collection, {}).setdefault(name.split, {}).setdefault(name.what, member.path)
        where = f"data source '{self.name}': {self._container.path}"
        if len(found) != 1:
            raise UserError(f"{where} holds several collections of IDX files: {', '.join(map(repr, sorted(found)))}")
        ((_, pairs),) = found.items()
        for split, pair in pairs.items():
            if lacking := {"images", "labels"} - set(pair):
                (path,) = pair.values()
                raise UserError(f"{where} has {path}, but no file of {split} {min(lacking)} for it")
        return pairs

    def _read(self, member: Member, rank: int) -> np.ndarray:
        assert member.open is not None
        where = f"data source '{self.name}': {member.path} in {self._container.path}"
        try:
            with member.open() as stream:
                data = unpacked(stream.read(LARGEST + 1))
            return parse(data, rank)
        except MemberError as error:
            raise UserError(f"{where}: {error}") from error
        except ValueError as error:
            raise UserError(f"{where} {error}") from error


def unpacked(data: bytes) -> bytes:
    """The content of a file that may be compressed by gzip. Raises ValueError."""
    if data.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(data)) as stream:
                data = stream.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"is damaged or incomplete ({error}); download it again") from error
    if len(data) > LARGEST:
        raise ValueError(f"is larger than {LARGEST >> 20} MiB")
    return data


def begun(data: bytes) -> bytes:
    """The beginning of the content of a file whose beginning is `data`. Raises ValueError."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return zlib.decompressobj(wbits=31).decompress(data, 64)
    except zlib.error as error:
        raise ValueError(f"is damaged ({error}); download it again") from error


def header(data: bytes) -> tuple[int, ...]:
    """The shape that the first bytes of an IDX file of unsigned bytes give. Raises ValueError."""
    if len(data) < 4 or data[:2] != b"\0\0" or not 1 <= data[3] <= 4:
        raise ValueError("is no IDX file: its first bytes are wrong")
    if data[2] != 8:
        raise ValueError(f"holds values of type 0x{data[2]:02x}; only unsigned bytes (0x08) are images")
    if len(data) < 4 + 4 * data[3]:
        raise ValueError("is damaged or incomplete; download it again")
    return tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3]))


def parse(data: bytes, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file, with `rank` dimensions. Raises ValueError."""
    shape = header(data)
    if len(shape) != rank:
        raise ValueError(f"has {len(shape)} dimensions instead of {rank}")
    size, content = int(np.prod(shape, dtype=object)), memoryview(data)[4 + 4 * rank :]
    if len(content) != size:
        kind = "is damaged or incomplete" if len(content) < size else "has bytes behind its end"
        raise ValueError(f"{kind}: its header says {size:,} bytes, there are {len(content):,}; download it again")
    return np.frombuffer(content, np.uint8).reshape(shape)
