"""What is at a path: the kind of source, its classes and splits, and a size and channels that suit its images.

Nothing is decoded but a small sample, and the folder or archive is passed over once.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from data_tools.sources.cifar import batch_split, is_batch, is_hundred, is_names
from data_tools.sources.class_folders import is_archive_name, is_image_name, is_rubbish, may_be_image
from data_tools.sources.containers import Folder, LoneFile, Member, MemberError, damaged, open_container
from data_tools.sources.detect_arrays import detect_cifar, detect_idx
from data_tools.sources.detected import NO_LABEL, Detected, classes_line, in_order, named, splits_line
from data_tools.sources.fer_csv import choose_tables, is_csv_name
from data_tools.sources.file_names import FileNames
from data_tools.sources.folder_levels import FoundClasses, read_folders
from data_tools.sources.idx import idx_name
from data_tools.sources.looks import bounded, looks_of
from data_tools.sources.signatures import SIGNATURE, is_image_data
from data_tools.sources.split_tables import split_tables, table_split
from data_tools.sources.table_summary import TableSummary, class_names, is_table_name, summarise
from foundation.errors import UserError

SAMPLE = 64  # images that are decoded, at most twice as many
LARGEST_SAMPLE = 2**25  # bytes of a file in the sample


def detect(path: Path, classes: Sequence[str] | None = None) -> Detected:
    """Look at the folder, archive or table at `path`.

    `classes` are the names of the classes, if they are known; they decide where folders can be read in two ways.
    Raises `UserError` if there is nothing that can be read, if folders can be read in two ways, and for a folder beside
    splits that is no known split.
    """
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"{path}: there is no such folder, archive or table")
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{path} is neither a folder, an archive nor a table of images")
    path = named(path)
    container = open_container(path)
    survey = _Survey()
    with damaged(path):
        for member in container.members():
            survey.add(member, lone=isinstance(container, LoneFile))
        survey.outputs = container.outputs if isinstance(container, Folder) else []
    if isinstance(container, LoneFile):
        return _lone(path, survey)
    return _contained(path, survey, classes or ())


@dataclass
class _Sample:
    """Evenly spaced things of a stream of unknown length, at least half of `size` and fewer than twice as many."""

    size: int
    kept: list[Any] = field(default_factory=list)
    _step: int = 1
    _seen: int = 0

    def wants(self) -> bool:
        """Whether the next thing belongs to the sample; it is counted."""
        self._seen += 1
        return (self._seen - 1) % self._step == 0

    def add(self, thing: object) -> None:
        self.kept.append(thing)
        if len(self.kept) >= 2 * self.size:
            self.kept, self._step = self.kept[::2], 2 * self._step


class _Survey:
    """One pass over the members."""

    def __init__(self) -> None:
        self.images: list[str] = []
        self.sample = _Sample(SAMPLE)
        self.tables: list[TableSummary] = []
        self.archives: list[str] = []
        self.others: list[str] = []
        self.refused: list[Member] = []
        self.outputs: list[str] = []  # folders of results that a command left here
        self.idx: dict[str, bytes] = {}  # the labels, and of the images the beginning
        self.batches: dict[str, int] = {}  # CIFAR's: their sizes
        self.names: bytes = b""  # the file with the names of CIFAR's classes

    def add(self, member: Member, lone: bool) -> None:
        if member.refused:
            self.refused.append(member)
            return
        if member.open is None or is_rubbish(PurePosixPath(member.path)):
            return
        try:
            self._look(member, lone)
        except MemberError as error:
            self.refused.append(Member(member.path, refused=str(error)))

    def _look(self, member: Member, lone: bool) -> None:
        assert member.open is not None
        if idx_name(member.path) is not None:
            self._idx(member)
        elif is_batch(member.path):
            self._batch(member)
        elif is_archive_name(member.path):
            self.archives.append(member.path)
        elif is_image_name(member.path):
            self._image(member)
        elif is_table_name(member.path) or lone:
            with member.open() as stream:
                table = summarise(member.path, stream)
            if table is not None:
                self.tables.append(table)
            else:
                self.others.append(member.path)
        elif may_be_image(member.path):
            with member.open() as stream:
                start = stream.read(SIGNATURE)
                if is_image_data(start):
                    self._image(member, start + stream.read(LARGEST_SAMPLE))
                else:
                    self.others.append(member.path)
        else:
            self.others.append(member.path)

    def _idx(self, member: Member) -> None:
        name = idx_name(member.path)
        assert name is not None
        assert member.open is not None
        with member.open() as stream:
            self.idx[member.path] = stream.read(LARGEST_SAMPLE if name.what == "labels" else 2**16)

    def _batch(self, member: Member) -> None:
        assert member.open is not None
        self.batches[member.path] = member.size
        if is_names(member.path):
            with member.open() as stream:
                self.names = stream.read(2**20)

    def _image(self, member: Member, data: bytes | None = None) -> None:
        self.images.append(member.path)
        if self.sample.wants() and 0 < member.size <= LARGEST_SAMPLE:
            if data is None:
                assert member.open is not None
                with member.open() as stream:
                    data = stream.read()
            self.sample.add(data)


def _lone(path: Path, survey: _Survey) -> Detected:
    if not survey.tables:
        what = "a single image" if survey.images else "neither a folder, an archive nor a table of images"
        reason = f" ({survey.refused[0].refused})" if survey.refused else ""
        raise UserError(f"{path} is {what}{reason}: give a folder, a zip or tar, or a CSV with the columns path,label")
    (table,) = survey.tables
    if table.pixels:
        return _pixel_tables(path, survey)
    images = _images_of(path, table)
    if images is None:
        raise UserError(
            f"{path} lists {table.paths[0] if table.paths else 'no file'}, but neither the table's folder nor one in "
            "it has such files: data=listed and data.sources.my_faces.images=FOLDER say where they are"
        )
    sample = _Sample(SAMPLE)
    for member in images[1]:
        if sample.wants() and member.open is not None and member.size <= LARGEST_SAMPLE:
            with member.open() as stream:
                sample.add(stream.read())
    return _listed(path, {"": table}, sample.kept, [], options={} if images[0] is None else {"images": images[0].name})


def _images_of(path: Path, table: TableSummary) -> tuple[Path | None, list[Member]] | None:
    """The folder or zip with the images of a single table, None if it is the table's own, and listed images in it."""
    top = Folder(path.parent.absolute())
    listed = [top.path / file for file in table.paths if ".." not in Path(file).parts]
    own = [top.member(file) for file in listed if file.is_relative_to(top.path) and file.is_file()]
    if own:
        return None, own
    for place in sorted(path.parent.iterdir()):
        if place.name.startswith(".") or not (place.is_dir() or place.suffix.lower() == ".zip"):
            continue
        members = {member.path: member for member in open_container(place).members()}
        names, found = FileNames(members), []
        for file in table.paths:
            with contextlib.suppress(LookupError):
                found.append(members[names.find(file)])
        if found:
            return place, found
    return None


def _contained(path: Path, survey: _Survey, classes: Sequence[str]) -> Detected:
    notes = [
        *(f"Not read: {name}/, which a command wrote here." for name in survey.outputs),
        *_refusals(survey.refused),
    ]
    if not survey.images:
        if survey.idx:
            return detect_idx(path, survey.idx)
        if is_hundred(list(survey.batches)) or any(map(batch_split, survey.batches)):
            return detect_cifar(path, list(survey.batches), survey.names, classes)
        if any(table.pixels for table in survey.tables):
            return _pixel_tables(path, survey)
        _nothing(path, survey)
    found, fitting = read_folders(path, survey.images, classes), _fitting(survey)
    by_class = len(found.classes) > 1
    listings = {} if by_class and in_order(found.splits) else _listings(path, fitting)
    if by_class and listings:
        # Splits that only tables name are kept, if the tables list most images: they were published with them.
        most = sum(table.rows for table in listings.values()) >= len(survey.images) / 2
        listings = listings if in_order(_splits_of(listings)) and most else {}
    used, why = [table.path for table in listings.values()], "" if listings else ": the folders name the classes"
    notes += [f"The table {table.path} is not used{why}." for table in fitting if table.path not in used]
    if listings:
        return _listed(path, listings, survey.sample.kept, notes, len(survey.images))
    return _folders(path, found, survey, notes)


def _folders(path: Path, found: FoundClasses, survey: _Survey, notes: list[str]) -> Detected:
    size, channels, looks = looks_of(path, survey.sample.kept)
    count = len(survey.images)
    lines = [f"{path}: {count:,} images in {'folders by class' if found.classes else 'no class folders'}."]
    if found.classes:
        lines.append(classes_line(found.classes))
    lines += [splits_line(found.splits), looks, *found.notes, *notes]
    options = {"stem": path.name} | ({} if found.classes else {"label": NO_LABEL})
    return Detected("files", options, found.classes, in_order(found.splits), size, channels, tuple(lines))


def _listed(
    path: Path,
    tables: dict[str, TableSummary],
    sample: list[bytes],
    notes: list[str],
    images: int = 0,
    options: dict[str, Any] | None = None,
) -> Detected:
    """What the tables of the splits list; a single table has the split ''."""
    size, channels, looks = looks_of(path, sample)
    options, (first, *others) = {"stem": path.name} | (options or {}), tables.values()
    if others:
        options["tables"] = {split: table.path for split, table in tables.items()}
    elif path.is_dir() or images:
        options["table"] = first.path
    columns = {split: table.columns for split, table in tables.items()}
    if all(names == first.columns for names in columns.values()):
        columns = {"": first.columns}
    if any(columns.values()):
        options["columns"] = columns.get("", columns)
    names, rows = " and ".join(table.path for table in tables.values()), sum(table.rows for table in tables.values())
    where, what = path if not images else f"{names} in {path}", "tables" if others else "a table"
    if "images" in options:
        notes = [*notes, f"Its images are in {options['images']}."]
    lines = [f"{where}: {what} of {rows:,} images{f', beside {images:,} image files' if images else ''}."]
    for split, own in columns.items():
        if shown := [f"{name} is the {ours}" for ours, name in own.items() if name]:
            whose = f"The columns of {tables[split].path}" if split else "Their columns" if others else "Its columns"
            lines.append(f"{whose}: {', '.join(shown)}.")
    classes = class_names(sum((table.labels for table in tables.values()), Counter()))
    splits = _splits_of(tables)
    lines += [classes_line(classes), splits_line(splits), looks, *notes]
    return Detected("listed", options, classes, in_order(splits), size, channels, tuple(lines))


def _pixel_tables(path: Path, survey: _Survey) -> Detected:
    """A table of pixels, or several that are the splits of a set."""
    found = {table.path: table for table in survey.tables if table.pixels}
    splits = choose_tables(found, str(path)) or {"": min(found)}
    tables = {split: found[name] for split, name in splits.items()}
    first, *others = tables.values()
    # Where other tables are beside it, the file itself is the source.
    apart = path.is_dir() and not others and any(map(is_csv_name, [*found, *survey.others][1:]))
    count, side = sum(table.rows for table in tables.values()), bounded(first.side)
    what = (
        " and ".join(table.path for table in tables.values()) + f" in {path}: tables" if others else f"{path}: a table"
    )
    classes = class_names(sum((table.labels for table in tables.values()), Counter()))
    lines = [
        f"{what} of {count:,} images, one per row, {first.side} x {first.side} pixels, grey.",
        classes_line(classes),
        splits_line(_splits_of(tables)),
        f"The pack has {side} x {side} grey pixels.",
        *(f"The table {name} is not used." for name in found if name not in splits.values()),
    ]
    stem = f"{path.name}/{first.path}" if apart else path.name
    return Detected("files", {"stem": stem}, classes, in_order(_splits_of(tables)), side, 1, tuple(lines))


def _fitting(survey: _Survey) -> list[TableSummary]:
    """The tables that list images which are there."""
    names = {part.casefold() for path in survey.images for part in (_base(path), _base(path).rpartition(".")[0])}
    return [
        table
        for table in survey.tables
        if not table.pixels and any(_base(path).casefold() in names for path in table.paths)
    ]


def _listings(path: Path, fitting: Sequence[TableSummary]) -> dict[str, TableSummary]:
    """Split -> its table; '' -> the one with most rows, of training if there is one, if they are not of splits."""
    by_path = {table.path: table for table in fitting}
    if splits := split_tables(by_path, str(path)):
        return {split: by_path[table] for split, table in splits.items()}
    of_training = [table for table in fitting if table_split(table.path) == "train"]
    best = max(of_training or fitting, key=lambda table: table.rows, default=None)
    return {} if best is None else {"": best}


def _splits_of(tables: dict[str, TableSummary]) -> dict[str, int]:
    """Number of images in each split; rows that name none are in the split of their table."""
    splits = Counter[str]()
    for own, table in tables.items():
        for split, number in table.splits.items():
            splits[split or own] += number
    return dict(splits)


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _nothing(path: Path, survey: _Survey) -> None:
    reason = "holds no image and no table of images"
    if survey.archives:
        reason = f"holds no image but the archive {survey.archives[0]}: give that one as the path"
    elif survey.refused:
        reason += f"; {_refusals(survey.refused)[0]}"
    elif not survey.others:
        reason = "is empty"
    else:
        reason += f", but {len(survey.others):,} other files ({survey.others[0]}, ...)"
    raise UserError(f"{path} {reason}")


def _refusals(refused: Iterable[Member]) -> list[str]:
    """One sentence for each kind of reason, with the number of members and an example."""
    kinds: dict[str, list[Member]] = {}
    for member in refused:
        kinds.setdefault(member.refused.partition(",")[0], []).append(member)
    return [f"Not read: {len(own):,} times {own[0].refused} ({own[0].path})." for own in kinds.values()]
