"""`keep.csv`: which images to keep, with a reason for each that is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from data_tools.reading.manifest import KEPT, MADE, Row
from foundation.csv_cells import cell
from foundation.files import write_text

COLUMNS = ("source", "path", "split", "class", "keep", "reason", "duplicate_of")


def write_keep(path: Path, rows: Iterable[Row]) -> None:
    """Write a line for every input image: `keep` is yes or no, `path` is as in the folder, archive or table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        if row.status != MADE:
            kept = "yes" if row.status == KEPT else "no"
            cells = (row.source, row.path, row.original_split, row.raw_label, kept, row.reason, row.duplicate_of)
            writer.writerow(map(cell, cells))
    write_text(path, text.getvalue())
