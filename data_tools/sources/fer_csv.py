"""FER-2013 as one table: `emotion,pixels,Usage` (`fer2013.csv`, `icml_face_data.csv`), one row per image."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np

from data_tools.sources.base import Entry
from data_tools.sources.contained import Contained
from data_tools.sources.containers import Container, LoneFile, Member, again, damaged
from data_tools.sources.csv_rows import CsvRows, RowError, csv_text
from data_tools.sources.split_names import split_named
from data_tools.sources.split_tables import split_tables
from foundation.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # codes 0 to 6
USAGES = ("Training", "PublicTest", "PrivateTest")
FILE_NAMES = ("fer2013.csv", "icml_face_data.csv")
SIDE = 48
FIRST_ROWS = 20  # of a table, which decide the size of its images

_COLUMNS = ("emotion", "pixels", "Usage")
_PIXEL_VALUES = {str(value): value for value in range(256)}


class FerCsv(Contained):
    """The table, as a file or in a folder or an archive. A bad row is refused, and the others are kept.

    Its images are squares of one size, 48 x 48 in FER-2013. With `usage` it must have the column `Usage`, which else
    only a table needs that has one of FER-2013's names.
    """

    def __init__(self, name: str, container: Container, seen: list[Member] | None = None, usage: bool = False) -> None:
        super().__init__(name, container)
        self._seen = seen
        self._usage = usage

    def entries(self) -> Iterator[Entry]:
        """Stream the rows; row 1 is the first below the header. Raises `UserError` if a column is missing."""
        self.ignored = 0
        with damaged(self._container.path):  # also for the errors of a damaged member
            seen = list(self._container.members()) if self._seen is None else self._seen
            tables = self._choose(seen)
            for member in again(self._container, seen):
                if member.path in tables and member.open is not None:
                    split = tables.pop(member.path)
                    with member.open() as stream, csv_text(stream) as text:
                        where = f"data source '{self.name}': {member.path}"
                        known = 3 if self._usage or PurePosixPath(member.path).name in FILE_NAMES else 2
                        rows = CsvRows(text, where, _COLUMNS[:known], _COLUMNS[known:], wide="pixels")
                        yield from self._rows(rows, member.path, split)
                        self.ignored += rows.blank
                if not tables:
                    return

    def _choose(self, seen: list[Member]) -> dict[str, str]:
        """Path of each table -> the split of its rows without Usage."""
        paths = [member.path for member in seen if is_csv_name(member.path) and member.open]
        if isinstance(self._container, LoneFile):
            paths = [member.path for member in seen]
        where = f"data source '{self.name}': {self._container.path}"
        if not (chosen := choose_tables(paths, where)):
            raise UserError(f"{where} holds {len(paths)} CSV files, none of them named {' or '.join(FILE_NAMES)}")
        return {path: split for split, path in chosen.items()}

    def _rows(self, rows: CsvRows, path: str, split: str) -> Iterator[Entry]:
        numbered = iter(rows)  # once: another iterator would count from 1 again
        first = list(itertools.islice(numbered, FIRST_ROWS))
        sizes = Counter(len(split_pixels(row["pixels"])) for _, row in first if not isinstance(row, RowError))
        side = side_of(sizes)
        for number, fields in itertools.chain(first, numbered):
            yield self._entry(fields, f"{path}:{number}", number, side, split)

    def _entry(self, fields: dict[str, str] | RowError, path: str, number: int, side: int, split: str) -> Entry:
        if isinstance(fields, RowError):
            return Entry(self.name, path, "", "", error=f"row {number}: {fields}")
        emotion, pixels, usage = fields["emotion"], fields["pixels"], fields.get("Usage")
        label = emotion[:20]
        try:
            label = parse_emotion(emotion)
            split = split if usage is None else parse_usage(usage)
            return Entry(self.name, path, split, label, pixels=parse_pixels(pixels, side))
        except RowError as error:
            return Entry(self.name, path, split, label, error=f"row {number}: {error}")


def choose_tables(paths: Collection[str], where: str) -> dict[str, str]:
    """Split -> its table, '' for a table of all splits; empty if it is not clear which tables are meant.

    A table with one of FER-2013's names, else the only one, else those whose names are of splits; see `split_tables`.
    """
    for name in FILE_NAMES:
        if known := [path for path in paths if PurePosixPath(path).name == name]:
            return {"": known[0]}
    return {"": next(iter(paths))} if len(paths) == 1 else split_tables(paths, where)


def parse_emotion(text: str) -> str:
    """Class name of an emotion, given as a code (`3`, `3.0`) or by its name. Raises `RowError`."""
    code = re.fullmatch(r"([0-6])(\.0*)?", text)
    if code:
        return EMOTIONS[int(code[1])]
    if re.search(r"[^\W\d_]", text) and text.casefold() not in ("nan", "none", "null"):
        return text  # the label map knows which names are classes
    raise RowError(f"emotion '{text[:20]}' is none of the codes 0 to {len(EMOTIONS) - 1}")


def parse_usage(text: str) -> str:
    """Split of a Usage value, in any case. Raises `RowError`."""
    split = split_named(text)
    if split is None:
        raise RowError(f"Usage '{text[:20]}' is none of {', '.join(USAGES)}")
    return split


def split_pixels(text: str) -> list[str]:
    """The numbers of an image: separated by blanks, commas or semicolons, with or without brackets around."""
    return text.translate(_SEPARATORS).split()


def side_of(sizes: Mapping[int, int]) -> int:
    """Side of the images whose rows have these numbers of pixels: the most frequent square, 48 if there is none."""
    squares = {number: count for number, count in sizes.items() if number > 0 and math.isqrt(number) ** 2 == number}
    return math.isqrt(max(squares, key=lambda number: (squares[number], number))) if squares else SIDE


def parse_pixels(text: str, side: int = SIDE) -> np.ndarray:
    """Pixels of an image, uint8 (side, side). Raises `RowError`.

    The numbers are as `split_pixels` takes them; whole ones may be written `70.0`.
    """
    values = split_pixels(text)
    if len(values) != side * side:
        raise RowError(f"{len(values):,} pixels instead of {side * side:,}")
    try:
        raw = bytes(map(_PIXEL_VALUES.__getitem__, values))
    except KeyError:
        raw = bytes(_pixel(place, value) for place, value in enumerate(values, 1))
    return np.frombuffer(raw, np.uint8).reshape(side, side)


_SEPARATORS = str.maketrans(dict.fromkeys(",;[]()", " "))


def _pixel(place: int, value: str) -> int:
    whole = re.sub(r"\.0*$", "", value)
    if whole not in _PIXEL_VALUES:
        raise RowError(f"pixel {place} is '{value[:20]}', not an integer from 0 to 255")
    return _PIXEL_VALUES[whole]


def is_csv_name(path: str) -> bool:
    """Whether the name ends in `.csv` and is not a hidden copy of one."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() == ".csv" and not pure.name.startswith(".") and "__MACOSX" not in pure.parts
