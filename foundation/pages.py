"""Templates of HTML pages. What all pages share, their colours and their style, is in `foundation/templates`."""

from __future__ import annotations

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHARED = Path(__file__).parent / "templates"


@functools.cache
def templates(folder: Path) -> Environment:
    """The templates in `folder` and the shared ones. Inserted values are escaped, and a missing value is an error.

    They are compiled once: a run writes its report twice, a sweep that of every job.
    """
    return Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,  # file names, class names and configurations come from people's folders
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
