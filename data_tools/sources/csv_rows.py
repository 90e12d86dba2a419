"""Rows of a CSV file of unknown origin: a bad row is reported and does not affect the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from foundation.errors import UserError

LONGEST_LINE = 2**17  # characters, the longest field that Python's csv accepts; a row of FER-2013 has about 9,000


class RowError(Exception):
    """Why a row is unusable, without the number of the row."""


def csv_text(stream: IO[bytes]) -> io.TextIOWrapper:
    """The stream as UTF-8 text, with or without byte order mark; other bytes become `\\xNN`, as in file names."""
    return io.TextIOWrapper(stream, "utf-8-sig", "backslashreplace", newline="")


class CsvRows:
    """The rows below a header. Columns are found by their names, compared without case and surrounding blanks.

    The delimiter is comma, semicolon or tab, whichever is most frequent in the header. A row is one line: an open
    quotation mark does not continue on the next line. Raises `UserError`, naming `where`, if the header lacks a
    column of `required` or has a column twice. The column `wide` may have the delimiter in it without quotation marks:
    the fields that a row has too many are its.
    """

    def __init__(
        self,
        text: io.TextIOBase,
        where: str,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
        wide: str | None = None,
    ) -> None:
        self.blank = 0  # empty rows, which have no number
        self._text = text
        self._where = where
        first = _line(text) or ""
        self._delimiter = max(",;\t", key=first.count)
        try:
            self.header = [name.strip() for name in self._split(first)]
        except RowError as error:
            raise UserError(f"{where}: its header {error}; is it a CSV file?") from error
        self._at: dict[str, int] = {}
        self.find(required, optional, names)
        self._wide = self._at.get(wide or "")

    def find(
        self, required: Sequence[str], optional: Sequence[str] = (), names: Mapping[str, str] | None = None
    ) -> None:
        """Select the columns that rows have."""
        header = [name.casefold() for name in self.header]
        self._at = {}
        for column in (*required, *optional):
            name = (names or {}).get(column, column).strip().casefold()
            if header.count(name) > 1:
                raise UserError(f"{self._where} has the column '{name}' {header.count(name)} times")
            if name in header:
                self._at[column] = header.index(name)
            elif column in required:
                shown = ", ".join(filter(None, header))[:80] or "empty"
                wanted = ",".join((names or {}).get(column, column) for column in required)
                raise UserError(
                    f"{self._where} has no column '{(names or {}).get(column, column)}' (its header: {shown!a}); "
                    f"it needs {wanted} and to be UTF-8"
                )

    def __iter__(self) -> Iterator[tuple[int, dict[str, str] | RowError]]:
        """For every row its number from 1 and its stripped fields, or the error in it."""
        number = 0
        while (line := _line(self._text)) is not None:
            if not line.strip(" \t\r\n,;\0"):
                self.blank += 1
                continue
            number += 1
            try:
                yield number, self._fields(line)
            except RowError as error:
                yield number, error

    def _fields(self, line: str) -> dict[str, str]:
        fields = self._split(line)
        if self._wide is not None and (more := len(fields) - len(self.header)) > 0:
            end = self._wide + more + 1
            fields[self._wide : end] = [self._delimiter.join(fields[self._wide : end])]
        if len(fields) <= max(self._at.values()):
            raise RowError(f"has {len(fields)} fields instead of {max(self._at.values()) + 1}")
        return {column: fields[index].strip() for column, index in self._at.items()}

    def _split(self, line: str) -> list[str]:
        if len(line) > LONGEST_LINE:
            raise RowError(f"is longer than {LONGEST_LINE:,} characters")
        try:
            return next(csv.reader([line.rstrip("\r\n")], delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            raise RowError(f"is not CSV ({error})") from error


def _line(text: io.TextIOBase) -> str | None:
    """The next line, None at the end; a line that is too long is cut just after the limit."""
    line = text.readline(LONGEST_LINE + 1)
    rest = line
    while rest and len(rest) > LONGEST_LINE and not rest.endswith(("\n", "\r")):
        rest = text.readline(LONGEST_LINE + 1)
        if len(rest) <= LONGEST_LINE:
            break
    return line or None
