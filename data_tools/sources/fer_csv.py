"""FER-2013 as one table: `emotion,pixels,Usage` (`fer2013.csv`, `icml_face_data.csv`), one row per image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from data_tools.sources.base import Entry, Fingerprint
from data_tools.sources.containers import Container, damaged
from data_tools.sources.csv_rows import CsvRows, RowError, csv_text
from foundation.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # codes 0 to 6
USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FILE_NAMES = ("fer2013.csv", "icml_face_data.csv")
SIDE = 48

_COLUMNS = ("emotion", "pixels", "Usage")
_PIXEL_VALUES = {str(value): value for value in range(256)}


class FerCsv:
    """The table, as a file or in a folder or an archive. A bad row is refused, and the others are kept."""

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
        with damaged(self._container.path):  # also for the errors of a damaged member
            wanted = self._choose()
            for member in self._container.members():
                if member.path == wanted and member.open is not None:
                    with member.open() as stream, csv_text(stream) as text:
                        rows = CsvRows(text, f"data source '{self.name}': {member.path}", _COLUMNS)
                        for number, fields in rows:
                            yield self._entry(fields, f"{member.path}:{number}", number)
                        self.ignored = rows.blank
                    return

    def _choose(self) -> str:
        """Path of the table: a file with one of the two known names, else the only CSV file."""
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

    def _entry(self, fields: dict[str, str] | RowError, path: str, number: int) -> Entry:
        if isinstance(fields, RowError):
            return Entry(self.name, path, "", "", error=f"row {number}: {fields}")
        emotion, pixels, usage = (fields[column] for column in _COLUMNS)
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
        raise RowError(f"pixel {place} is '{value[:20]}', not an integer from 0 to 255") from None
    return np.frombuffer(raw, np.uint8).reshape(SIDE, SIDE)


def is_csv_name(path: str) -> bool:
    """Whether the name ends in `.csv` and is not a hidden copy of one."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() == ".csv" and not pure.name.startswith(".") and "__MACOSX" not in pure.parts


def _codes() -> tuple[str, ...]:
    return tuple(map(str, range(len(EMOTIONS))))
