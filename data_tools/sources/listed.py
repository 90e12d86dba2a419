"""Images listed in a CSV, `path,label[,split]`, which is in a folder or an archive, or beside the files it lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_tools.sources.base import SPLITS, Entry, Fingerprint
from data_tools.sources.class_folders import LARGEST_FILE, is_image_name
from data_tools.sources.containers import (
    Container,
    Folder,
    LoneFile,
    Member,
    MemberError,
    damaged,
    leaves,
)
from data_tools.sources.csv_rows import CsvRows, RowError, csv_text
from data_tools.sources.fer_csv import is_csv_name
from data_tools.sources.split_names import split_named
from foundation.errors import UserError

COLUMNS = ("path", "label", "split")


@dataclass(frozen=True, slots=True)
class Listing:
    """A usable row of the table."""

    number: int  # of the row, from 1
    path: str  # below the container, with forward slashes
    label: str
    split: str


class ListedImages:
    """The images that the table lists, one per row; paths are relative to the folder of the table.

    A row that is bad or whose file is missing is refused, and so is an image in the folder or archive that the table
    does not list. If the table is a single file in `data.root`, only the files that it lists are read.
    """

    def __init__(
        self, name: str, container: Container, table: str | None = None, columns: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.ignored = 0
        self._container = container
        self._columns = columns or {}
        if unknown := set(self._columns) - set(COLUMNS):
            raise UserError(f"data.sources.{name}.columns: {min(unknown)} is none of {', '.join(COLUMNS)}")
        self._alone = isinstance(container, LoneFile)
        self._table = self._choose(table)

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the folder or archive, or of a single table and the files it lists."""
        found = dict(self._container.fingerprint())
        if self._alone:
            infos = [path.stat() for path in map(self._beside, self._by_path(self._rows())) if path.is_file()]
            found |= {
                "files": len(infos),
                "files_size": sum(info.st_size for info in infos),
                "files_mtime_ns": max((info.st_mtime_ns for info in infos), default=0),
            }
        return found

    def expected(self) -> int | None:
        """None: the rows are counted only by reading them."""
        return None

    def entries(self) -> Iterator[Entry]:
        """Stream the listed images in the order of the container, then the listed files that are missing.

        Raises `UserError` for a table without the required columns or without rows.
        """
        self.ignored = 0
        with damaged(self._container.path):
            rows = list(self._rows())
            if not rows:
                raise UserError(f"data source '{self.name}': {self._table} has no row")
            wanted = self._by_path(rows)
            for member in self._members(wanted):
                key = PurePosixPath(member.path.replace("\\", "/")).as_posix()
                if key in wanted:
                    yield from self._read(member, wanted.pop(key))
                elif member.refused:
                    yield Entry(self.name, member.path, "", "", error=member.refused)
                elif member.open is not None and is_image_name(member.path):
                    yield Entry(self.name, member.path, "", "", error=f"not in {self._table}")
                elif member.open is not None:
                    self.ignored += member.path != self._table
            for row in rows:
                if isinstance(row, Entry):
                    yield row
                elif row.path in wanted:
                    yield self._entry(row, f"{self._table}:{row.number}", error=f"there is no file '{row.path}'")

    def _choose(self, table: str | None) -> str:
        """Path of the table inside the container."""
        with damaged(self._container.path):
            paths = [m.path for m in self._container.members() if is_csv_name(m.path) and m.open is not None]
        found = [path for path in paths if table is None or PurePosixPath(path).name == table or path == table]
        if len(found) != 1:
            what = "CSV file" if table is None else f"'{table}'"
            raise UserError(
                f"data source '{self.name}': {self._container.path} holds {len(found)} times a {what} "
                f"with the columns {','.join(COLUMNS)}; data.sources.{self.name}.table=NAME selects one"
            )
        return found[0]

    def _rows(self) -> Iterator[Listing | Entry]:
        """Every row of the table; a bad row becomes a refused entry."""
        folder = PurePosixPath(self._table).parent
        for member in self._container.members():
            if member.path == self._table and member.open is not None:
                with member.open() as stream, csv_text(stream) as text:
                    where = f"data source '{self.name}': {self._table}"
                    rows = CsvRows(text, where, COLUMNS[:2], COLUMNS[2:], self._columns)
                    for number, fields in rows:
                        yield self._row(number, fields, folder)
                    self.ignored += rows.blank
                return

    def _row(self, number: int, fields: dict[str, str] | RowError, folder: PurePosixPath) -> Listing | Entry:
        label = "" if isinstance(fields, RowError) else fields["label"]
        try:
            if isinstance(fields, RowError):
                raise fields
            path, split = parse_path(fields["path"]), parse_split(fields.get("split", ""))
            return Listing(number, (folder / path).as_posix(), label, split)
        except RowError as error:
            return Entry(self.name, f"{self._table}:{number}", "", label, error=f"row {number}: {error}")

    def _by_path(self, rows: Iterator[Listing | Entry] | list[Listing | Entry]) -> dict[str, list[Listing]]:
        listed: dict[str, list[Listing]] = {}
        for row in rows:
            if isinstance(row, Listing):
                listed.setdefault(row.path, []).append(row)
        return listed

    def _members(self, wanted: Mapping[str, object]) -> Iterator[Member]:
        if not self._alone:
            yield from self._container.members()
            return
        top = self._container.path.parent
        for path in sorted(map(self._beside, wanted)):
            if path.parent.resolve().is_relative_to(top.resolve()):
                if path.is_symlink() or path.is_file():
                    yield Folder(top).member(path)
            else:
                yield Member(path.relative_to(top).as_posix(), refused="symbolic link")

    def _beside(self, path: str) -> Path:
        return self._container.path.parent / path

    def _read(self, member: Member, rows: list[Listing]) -> Iterator[Entry]:
        """An entry for every row that lists the member."""
        data, error = None, member.refused
        if not error and member.open is None:
            error = "is a folder"
        elif not error and member.size > LARGEST_FILE:
            error = f"file larger than {LARGEST_FILE >> 20} MiB"
        elif not error and member.open is not None:
            try:
                with member.open() as stream:
                    data = stream.read()
            except MemberError as failure:
                error = str(failure)
        for row in rows:
            yield self._entry(row, member.path, data, error)

    def _entry(self, row: Listing, path: str, data: bytes | None = None, error: str = "") -> Entry:
        return Entry(self.name, path, row.split, row.label, data, error=f"row {row.number}: {error}" if error else "")


def parse_path(text: str) -> PurePosixPath:
    """A path below the table's folder. Raises `RowError` for one that is empty, absolute, or leads out of it."""
    path = PurePosixPath(text.replace("\\", "/"))
    if not text or path == PurePosixPath("."):
        raise RowError("has no path")
    if "\0" in text:
        raise RowError("has a path with a NUL byte")
    if reason := leaves(text):
        raise RowError(f"path '{text[:40]}': {reason.replace('archive', 'folder')}")
    return path


def parse_split(text: str) -> str:
    """The split that a table's name means, '' if it is empty. Raises `RowError`."""
    split = split_named(text) if text.strip() else ""
    if split is None:
        raise RowError(f"split '{text[:20]}' is none of {', '.join(SPLITS)}")
    return split
