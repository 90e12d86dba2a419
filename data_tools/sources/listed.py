"""Images listed in a table, `path,label[,split]`, which lies in their folder or archive, beside it, or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.sources.base import SPLITS, Entry, Fingerprint
from data_tools.sources.class_folders import IMAGE_SUFFIXES, LARGEST_FILE, is_image_name
from data_tools.sources.contained import Contained, surveyed
from data_tools.sources.containers import (
    Container,
    Folder,
    LoneFile,
    Member,
    MemberError,
    again,
    damaged,
    leaves,
)
from data_tools.sources.csv_rows import CsvRows, RowError, csv_text
from data_tools.sources.fer_csv import is_csv_name
from data_tools.sources.file_names import FileNames
from data_tools.sources.split_names import split_named
from data_tools.sources.table_summary import is_table_name
from foundation.errors import UserError

COLUMNS = ("path", "label", "split")
LARGEST_TABLE = 2**31  # bytes of a table in a tar, of which more is not read


@dataclass(frozen=True, slots=True)
class Listing:
    """A usable row of the table."""

    table: str
    number: int  # of the row, from 1
    path: str  # below the container, with forward slashes, if it is relative to the folder of the table
    written: str  # as in the table, below the folder of the images
    label: str
    split: str


@dataclass(frozen=True, slots=True)
class _Table:
    path: str  # in the container
    split: str  # of its rows that name none
    columns: Mapping[str, str]  # our names -> those of the table, where they differ


class ListedImages(Contained):
    """The images that a table lists, one per row, or several tables, of a split each.

    `table` is the name of the table if there are several in the container; `tables` maps splits to the names of theirs,
    and then the rows of a table may name no other split, but those of the training table any. `columns` maps our
    names of columns to those of the table, or the splits to such mappings.

    Paths are relative to the folder of the table, or to the top of the folder or archive; a name that only one file has
    is enough, also without its suffix. `images` is a folder or archive with the images, apart from the table. Absolute
    paths are read if they lie in the folder of the images.

    A row that is bad or whose file is missing is refused, and so is an image in the folder or archive that the table
    does not list. If the table is a single file and there is no `images`, only the files that it lists are read.
    """

    def __init__(
        self,
        name: str,
        container: Container,
        table: str | None = None,
        columns: Mapping[str, Any] | None = None,
        images: Container | None = None,
        tables: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, container)
        self._images = images or container
        self._alone = isinstance(container, LoneFile) and images is None
        with damaged(container.path):
            self._seen = list(surveyed(container, is_table_name, LARGEST_TABLE))
        self._tables = self._choose(table, tables or {}, columns or {})
        self._names = ", ".join(table.path for table in self._tables)  # for messages

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the folder or archive, of a single table and the files it lists, or of both places."""
        found = dict(super().fingerprint())
        if self._alone:
            infos = [Path(self._top() / member.path).stat() for member in self._beside(self._rows()) if member.open]
            found |= {
                "files": len(infos),
                "files_size": sum(info.st_size for info in infos),
                "files_mtime_ns": max((info.st_mtime_ns for info in infos), default=0),
            }
        if self._images is not self._container:
            found |= {f"images_{key}": value for key, value in self._images.fingerprint().items()}
        return found

    def entries(self) -> Iterator[Entry]:
        """Stream the listed images in the order of the container, then the listed files that are missing.

        Raises `UserError` for a table without the required columns or without rows.
        """
        self.ignored = 0
        with damaged(self._container.path):
            rows = list(self._rows())
        if not rows:
            raise UserError(f"data source '{self.name}': {self._names} has no row")
        with damaged(self._images.path):
            yield from self._entries(rows)

    def _entries(self, rows: list[Listing | Entry]) -> Iterator[Entry]:
        if self._alone:
            members = self._beside(rows)
        else:
            members = self._seen if self._images is self._container else list(self._images.members())
        wanted, missing = _assigned(rows, members)
        tables = {table.path for table in self._tables}
        for member in members if self._alone else again(self._images, members):
            if member.path in wanted:
                yield from self._read(member, wanted.pop(member.path))
            elif member.refused:
                yield Entry(self.name, member.path, "", "", error=member.refused)
            elif member.open is not None and is_image_name(member.path):
                yield Entry(self.name, member.path, "", "", error=f"not in {self._names}")
            elif member.open is not None:
                self.ignored += member.path not in tables
        for row in rows:
            if isinstance(row, Entry):
                yield row
            elif (row.table, row.number) in missing:
                yield self._entry(row, f"{row.table}:{row.number}", error=missing[row.table, row.number])

    def _choose(self, table: str | None, tables: Mapping[str, str], columns: Mapping[str, Any]) -> list[_Table]:
        """The tables inside the container."""
        option = f"data.sources.{self.name}"
        if isinstance(self._container, LoneFile):
            for key, given in (("table", table), ("tables", tables)):
                if given and given != self._container.path.name:
                    raise UserError(f"{option}.{key}: {self._container.path} is a table itself, so it is not used")
        if table is not None and tables:
            raise UserError(f"{option}.table: {option}.tables names the tables, so it is not used")
        if unknown := set(tables) - set(SPLITS):
            raise UserError(f"{option}.tables: {min(unknown)} is none of {', '.join(SPLITS)}")
        own = columns if set(columns) & set(tables) else {}
        if unknown := set(own) - set(tables):
            raise UserError(f"{option}.columns: {min(unknown)} is none of {', '.join(tables)}")
        shared = {} if own else columns
        for names in (shared, *own.values()):
            if unknown := set(names) - set(COLUMNS):
                raise UserError(f"{option}.columns: {min(unknown)} is none of {', '.join(COLUMNS)}")
        if not tables:
            return [_Table(self._find(table), "", shared)]
        return [_Table(self._find(tables[split]), split, own.get(split, shared)) for split in SPLITS if split in tables]

    def _find(self, table: str | None) -> str:
        """Path of a table inside the container."""
        if isinstance(self._container, LoneFile):
            return self._seen[0].path
        files = [member.path for member in self._seen if member.open is not None]
        found = [path for path in files if PurePosixPath(path).name == table or path == table]
        if table in found:
            return table
        if table is None:
            found = list(filter(is_csv_name, files)) or list(filter(is_table_name, files))
        if len(found) != 1:
            what = "CSV file" if table is None else f"'{table}'"
            raise UserError(
                f"data source '{self.name}': {self._container.path} holds {len(found)} times a {what} "
                f"with the columns {','.join(COLUMNS)}; data.sources.{self.name}.table=NAME selects one"
            )
        return found[0]

    def _rows(self) -> Iterator[Listing | Entry]:
        """Every row of the tables; a bad row becomes a refused entry."""
        for table in self._tables:
            named = table.columns.get("split")  # None: it need not be there; '': it is not to be read
            required, optional = COLUMNS[: 3 if named else 2], ["split"] if named is None else []
            member = next(member for member in self._seen if member.path == table.path)
            assert member.open is not None
            with member.open() as stream, csv_text(stream) as text:
                rows = CsvRows(text, f"data source '{self.name}': {table.path}", required, optional, table.columns)
                for number, fields in rows:
                    yield self._row(table, number, fields)
                self.ignored += rows.blank

    def _row(self, table: _Table, number: int, fields: dict[str, str] | RowError) -> Listing | Entry:
        label = "" if isinstance(fields, RowError) else fields["label"]
        apart = self._images is not self._container
        folder = PurePosixPath("") if apart else PurePosixPath(table.path).parent
        try:
            if isinstance(fields, RowError):
                raise fields
            inside = self._inside(fields["path"])
            path = parse_path(fields["path"] if inside is None else inside)
            split = parse_split(fields.get("split", "")) or table.split
            if table.split not in ("", "train", split):
                raise RowError(f"split '{split}' in the table of the {table.split} split")
            below = path if inside is not None else folder / path
            return Listing(table.path, number, below.as_posix(), path.as_posix(), label, split)
        except RowError as error:
            return Entry(self.name, f"{table.path}:{number}", "", label, error=f"row {number}: {error}")

    def _inside(self, text: str) -> str | None:
        """An absolute path that lies in the folder of the images, relative to that; None for any other."""
        if isinstance(self._images, LoneFile | Folder) and os.path.isabs(text) and ".." not in Path(text).parts:
            for top in (self._top(), self._top().resolve()):
                if Path(text).is_relative_to(Path(os.path.abspath(top))):
                    return Path(text).relative_to(Path(os.path.abspath(top))).as_posix()
        return None

    def _top(self) -> Path:
        """The folder of the images."""
        return self._images.path.parent if isinstance(self._images, LoneFile) else self._images.path

    def _beside(self, rows: Iterable[Listing | Entry]) -> list[Member]:
        """The files that a single table lists, as far as they are there."""
        top = self._top()
        found: dict[str, Member] = {}
        for row in rows:
            if not isinstance(row, Listing):
                continue
            path = next((path for path in self._spellings(row) if path.is_symlink() or path.is_file()), None)
            if path is None:
                continue
            if path.parent.resolve().is_relative_to(top.resolve()):
                member = Folder(top).member(path)
            else:
                member = Member(path.relative_to(top).as_posix(), refused="symbolic link out of the data folder")
            found[member.path] = member
        return [found[path] for path in sorted(found)]

    def _spellings(self, row: Listing) -> Iterator[Path]:
        yield self._top() / row.path
        if not is_image_name(row.path):
            yield from (self._top() / f"{row.path}{suffix}" for suffix in IMAGE_SUFFIXES)

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


def _assigned(
    rows: Iterable[Listing | Entry], members: Iterable[Member]
) -> tuple[dict[str, list[Listing]], dict[tuple[str, int], str]]:
    """The rows of each member, by its path, and for the rows without one the reason, by their table and number."""
    names = FileNames(member.path for member in members)
    wanted: dict[str, list[Listing]] = {}
    missing: dict[tuple[str, int], str] = {}
    for row in rows:
        if isinstance(row, Listing):
            try:
                wanted.setdefault(names.find(row.path, row.written, split=row.split), []).append(row)
            except LookupError as error:
                missing[row.table, row.number] = str(error)
    return wanted, missing


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
