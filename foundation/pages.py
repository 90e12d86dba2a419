"""The templates of HTML pages."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates(folder: Path) -> Environment:
    """The templates in `folder`. What is put into them is escaped; what is missing is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,  # file names, class names and configurations come from people's folders
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
