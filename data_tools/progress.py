"""Progress bars on the standard error, shown only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """A progress bar with a description."""

    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def advance(self) -> None:
        """Count one more item."""
        self._progress.advance(self._task)

    def report(self, what: str, done: int, total: int) -> None:
        """Set description and progress; a total of 0 means that it is unknown."""
        self._progress.update(self._task, description=what, completed=done, total=total or None)


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Bar]:
    """A progress bar that is removed at the end."""
    screen = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        yield Bar(progress, what, total)
