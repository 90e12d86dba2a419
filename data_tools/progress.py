"""The progress of long work on the standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from foundation.progress import Pulse
from foundation.screen import Screen


class Bar(Protocol):
    """What long work tells about itself."""

    def advance(self) -> None:
        """Count one more item."""

    def report(self, what: str, done: int, total: int) -> None:
        """Set description and progress; a total of 0 means that it is unknown."""


class _OnTerminal:
    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def report(self, what: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=what, completed=done, total=total or None)


class _InLines:
    def __init__(self, pulse: Pulse, what: str, total: int | None) -> None:
        self._pulse, self._what, self._done = pulse, what, 0
        pulse.begin(what, total or 0)

    def advance(self) -> None:
        self._done += 1
        self._pulse.update(self._done)

    def report(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._what = what
            self._pulse.begin(what, total)
        self._done = done
        self._pulse.update(done, total)


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Bar]:
    """A progress bar that is removed at the end; off a terminal a line now and then."""
    screen = Screen(file=sys.stderr)
    if not screen.is_terminal:
        with Pulse() as pulse:
            yield _InLines(pulse, what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        yield _OnTerminal(progress, what, total)
