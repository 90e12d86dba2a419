"""`metrics.csv`: one row per epoch. Each epoch rewrites the small file, so that it is always complete."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import write_text

# The first columns; further ones follow in the order of their appearance.
COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
    "images_per_second",
)


def write_history(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all epochs. Floats keep every digit; None becomes an empty cell."""
    present = {key for row in rows for key in row}
    extra = dict.fromkeys(key for row in rows for key in row if key not in COLUMNS)
    columns = [key for key in COLUMNS if key in present or not rows] + list(extra)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    write_text(path, text.getvalue())


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows that `write_history` wrote: integers as int, other numbers as float, empty cells as None."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}") from error
    rows: list[dict[str, Any]] = []
    try:
        for row in csv.DictReader(io.StringIO(text, newline="")):
            rows.append({key: _number(value) for key, value in row.items()})
    except (TypeError, ValueError) as error:  # TypeError: a row longer than the header
        raise UserError(f"{path}, line {len(rows) + 2}: a cell is not a number") from error
    except csv.Error as error:
        raise UserError(f"{path}, line {len(rows) + 2} is no CSV: {error}") from error
    return rows


def best_row(history: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> Mapping[str, Any] | None:
    """The row of `best_epoch`, or the first with the highest validation accuracy; None if none was measured."""
    measured = [row for row in history if is_number(row.get("val_accuracy"))]
    if best_epoch is not None:
        measured = [row for row in measured if row["epoch"] == best_epoch]
    return max(measured, key=lambda row: row["val_accuracy"], default=None)


def is_number(value: Any) -> bool:
    """Whether a cell of the history has a value: not None, and finite."""
    return value is not None and math.isfinite(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    # `repr` of a NumPy scalar differs from that of a Python number.
    return repr(value.item() if hasattr(value, "item") else value)


def _number(text: str | None) -> int | float | None:
    if text is None or text == "":
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)
