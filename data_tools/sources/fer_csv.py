"""FER-2013 as one table: `emotion,pixels,Usage` (`fer2013.csv`, `icml_face_data.csv`), a row an image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

import numpy as np

from data_tools.sources.base import Entry, Fingerprint
from data_tools.sources.containers import Container, damaged
from foundation.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # codes 0 to 6
USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FILE_NAMES = ("fer2013.csv", "icml_face_data.csv")
SIDE = 48

_COLUMNS = ("emotion", "pixels", "Usage")
_PIXEL_VALUES = {str(value): value for value in range(256)}


class RowError(Exception):
    """Why a row is no image, without the row's number."""


class FerCsv:
    """The table, alone or inside a folder or an archive. A bad row is refused, the others are kept."""

    def __init__(self, name: str, container: Container) -> None:
        self.name = name
        self.ignored = 0
        self._container = container

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the file, folder or archive."""
        return self._container.fingerprint()

    def expected(self) -> int | None:
        """None: the rows are counted only by reading them."""
        return None

    def entries(self) -> Iterator[Entry]:
        """Stream the rows; row 1 is the first below the header. Raises `UserError` if a column is missing."""
        self.ignored = 0
        with damaged(self._container.path):
            wanted = self._choose()
            for member in self._container.members():
                if member.path == wanted and member.open is not None:
                    with member.open() as stream, _text(stream) as text:
                        yield from self._rows(csv.reader(text), member.path)
                    return

    def _choose(self) -> str:
        """Path of the table: one of the two known names first, else the only CSV there is."""
        paths = [member.path for member in self._container.members() if is_csv_name(member.path) and member.open]
        known = sorted(
            (path for path in paths if PurePosixPath(path).name in FILE_NAMES),
            key=lambda path: FILE_NAMES.index(PurePosixPath(path).name),
        )
        if not known and len(paths) != 1:
            raise UserError(
                f"data source '{self.name}': {self._container.path} holds {len(paths)} CSV files, "
                f"none of them named {' or '.join(FILE_NAMES)}"
            )
        return (known or paths)[0]

    def _rows(self, reader: Iterator[list[str]], path: str) -> Iterator[Entry]:
        header = [name.strip().casefold() for name in next(reader, [])]
        for column in _COLUMNS:
            if column.casefold() not in header:
                raise UserError(
                    f"data source '{self.name}': {path} has no column '{column}' "
                    f"(its header: {', '.join(header)[:80] or 'empty'}); it needs {','.join(_COLUMNS)}"
                )
        at = [header.index(column.casefold()) for column in _COLUMNS]
        number = 0
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # an open quotation mark that swallows the lines after it, a NUL byte
                yield Entry(self.name, f"{path}:{number}", "", "", error=f"row {number}: {error}")
                continue
            if not any(field.strip() for field in row):
                number -= 1
                self.ignored += 1
                continue
            yield self._entry(row, at, f"{path}:{number}", number)

    def _entry(self, row: list[str], at: list[int], path: str, number: int) -> Entry:
        try:
            if len(row) <= max(at):
                raise RowError(f"has {len(row)} fields instead of {max(at) + 1}")
            emotion, pixels, usage = (row[index].strip() for index in at)
        except RowError as error:
            return Entry(self.name, path, "", "", error=f"row {number}: {error}")
        try:
            return Entry(self.name, path, parse_usage(usage), parse_emotion(emotion), pixels=parse_pixels(pixels))
        except RowError as error:
            label = EMOTIONS[int(emotion)] if emotion in _codes() else emotion[:20]
            return Entry(self.name, path, USAGES.get(usage, ""), label, error=f"row {number}: {error}")


def parse_emotion(text: str) -> str:
    """Class name of an emotion code. Raises `RowError`."""
    if text not in _codes():
        raise RowError(f"emotion '{text[:20]}' is none of the codes 0 to {len(EMOTIONS) - 1}")
    return EMOTIONS[int(text)]


def parse_usage(text: str) -> str:
    """Split of a Usage value. Raises `RowError`."""
    if text not in USAGES:
        raise RowError(f"Usage '{text[:20]}' is none of {', '.join(USAGES)}")
    return USAGES[text]


def parse_pixels(text: str) -> np.ndarray:
    """Pixels of an image, uint8 (48, 48), from numbers separated by spaces. Raises `RowError`."""
    values = text.split()
    if len(values) != SIDE * SIDE:
        raise RowError(f"{len(values):,} pixels instead of {SIDE * SIDE:,}")
    try:
        raw = bytes(map(_PIXEL_VALUES.__getitem__, values))
    except KeyError:
        place, value = next((i, v) for i, v in enumerate(values, 1) if v not in _PIXEL_VALUES)
        raise RowError(f"pixel {place} is '{value[:20]}', not a whole number from 0 to 255") from None
    return np.frombuffer(raw, np.uint8).reshape(SIDE, SIDE)


def is_csv_name(path: str) -> bool:
    """Whether the name ends in `.csv` and is not a hidden copy of one."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() == ".csv" and not pure.name.startswith(".") and "__MACOSX" not in pure.parts


def _text(stream: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="")


def _codes() -> tuple[str, ...]:
    return tuple(map(str, range(len(EMOTIONS))))
