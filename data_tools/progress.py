"""Progress bars on the standard error, which stay away where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """A line that says what is being done and how far it is."""

    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def advance(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

    def report(self, what: str, done: int, total: int) -> None:
        """Something else is being done, so far of so many; a total of 0 means that nobody knows."""
        self._progress.update(self._task, description=what, completed=done, total=total or None)


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Bar]:
    """A bar that is wiped away at the end."""
    screen = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        yield Bar(progress, what, total)
