"""Templates of HTML pages."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates(folder: Path) -> Environment:
    """The templates in `folder`. Inserted values are escaped, and a missing value is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,  # file names, class names and configurations come from people's folders
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
