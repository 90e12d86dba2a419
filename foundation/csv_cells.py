"""Cells of the CSV files that are written here: a spreadsheet computes none of them.

Excel, LibreOffice and Google Sheets take a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a
formula, which can call programs and send cells away. Names of files and classes may be a stranger's. Such text gets an
apostrophe in front, which spreadsheets know as the mark of text; a number stays as it is.
"""

from __future__ import annotations

import re
from typing import Any

# Text that begins like a formula, or like text that was marked here: so that `original` gives back every text.
_FORMULA = re.compile(r"'*[=+\-@\t\r\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE | re.ASCII)


def cell(value: Any) -> Any:
    """The value for `csv.writer`; what is no text stays as it is."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def original(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) and not _NUMBER.fullmatch(text[1:]) else text
