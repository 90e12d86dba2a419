"""The output of measurements: JSON, and tables under docs/benchmarks that tests compare with the code."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.files import write_text

TABLES = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


def finite(value: Any) -> Any:
    """The value with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_or_check(path: Path, text: str, check: bool) -> int:
    """Write a table, or check whether it is up to date; returns the exit status of the command in its second line."""
    shown = path.relative_to(path.parents[2])
    if not check:
        write_text(path, text)
        print(f"{shown}: written")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        print(f"{shown} is up to date")
        return 0
    print(f"error: {shown} is out of date; run python -m benchmarks.{path.stem} --write", file=sys.stderr)
    return 1
