"""Templates of HTML pages. What all pages share, their colours and their style, is in `foundation/templates`."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHARED = Path(__file__).parent / "templates"


def templates(folder: Path) -> Environment:
    """The templates in `folder` and the shared ones. Inserted values are escaped, and a missing value is an error."""
    return Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,  # file names, class names and configurations come from people's folders
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
