"""What a table of images holds: its columns, labels and splits, found in one pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO

from data_tools.sources.csv_rows import CsvRows, RowError, csv_text
from data_tools.sources.fer_csv import FIRST_ROWS, parse_emotion, parse_usage, side_of, split_pixels
from data_tools.sources.layout import comparable, composed
from data_tools.sources.split_names import split_named
from data_tools.sources.table_columns import different, guess_columns, has_pixels
from foundation.errors import UserError

MOST_LABELS = 1000  # different ones: with more it is no column of classes
PATHS = 500  # that are kept, to see whether the files are there
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")


@dataclass
class TableSummary:
    """A table of paths, or with `pixels` of images."""

    path: str
    pixels: bool
    columns: dict[str, str]  # our names -> those of the table, where they differ; '' for a column that is not read
    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)  # of all rows; no more different ones than `MOST_LABELS`
    splits: dict[str, int] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    side: int = 0  # of the images in a table of pixels


def is_table_name(path: str) -> bool:
    """Whether the name may be that of a table, and not of a hidden copy of one."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() in TABLE_SUFFIXES and not pure.name.startswith(".") and "__MACOSX" not in pure.parts


def summarise(path: str, stream: IO[bytes]) -> TableSummary | None:
    """The table at `path`, or None if its header has no columns of paths and labels, nor of pixels."""
    with csv_text(stream) as text:
        try:
            rows = CsvRows(text, path)
            if has_pixels(rows.header):
                return _of_pixels(path, rows)
            columns = guess_columns(rows.header)
            return None if columns is None else _of_paths(path, rows, columns)
        except UserError:
            return None


def _of_paths(path: str, rows: CsvRows, columns: dict[str, str]) -> TableSummary:
    rows.find(("path", "label"), ("split",), columns)
    table = TableSummary(path, False, different(columns))
    labels, splits = Counter[str](), Counter[str]()
    unknown_split = False
    for _, fields in rows:
        if isinstance(fields, RowError):
            continue
        table.rows += 1
        if len(table.paths) < PATHS:
            table.paths.append(fields["path"])
        if len(labels) <= MOST_LABELS:
            labels[fields["label"]] += 1
        split = split_named(fields.get("split", "")) if fields.get("split") else ""
        unknown_split |= split is None
        splits[split or ""] += 1
    table.labels, table.splits = labels, dict(splits)
    if unknown_split:  # such as a fold or the name of a collection
        table.columns["split"] = ""
        table.splits = {"": table.rows}
    return table


def _of_pixels(path: str, rows: CsvRows) -> TableSummary:
    rows.find(("emotion", "pixels"), ("usage",))
    table, labels, splits, counts = TableSummary(path, True, {}), Counter[str](), Counter[str](), Counter[int]()
    for _, fields in rows:
        if isinstance(fields, RowError):
            continue
        table.rows += 1
        try:
            labels[parse_emotion(fields["emotion"])] += 1
            splits[parse_usage(fields["usage"]) if "usage" in fields else ""] += 1
        except RowError:
            continue
        if table.rows <= FIRST_ROWS:
            counts[len(split_pixels(fields["pixels"]))] += 1
    table.labels, table.splits = labels, dict(splits)
    table.side = side_of(counts)
    return table


def class_names(labels: Counter[str]) -> tuple[str, ...]:
    """The labels as classes. Spellings that differ in case or in the form of accents are one, as written most often."""
    spellings: dict[str, Counter[str]] = {}
    for label, count in labels.items():
        if label:
            spellings.setdefault(comparable(label), Counter())[composed(label)] += count
    return tuple(sorted(max(sorted(own), key=own.__getitem__) for own in spellings.values()))
