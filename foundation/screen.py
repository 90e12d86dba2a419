"""The console of `rich`, on which text from files has no control characters."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.control import Control
from rich.segment import Segment

from foundation.output import is_logged, record, visible

_LOG_WIDTH = 120  # of tables in a log, whatever the terminal's


class Screen(Console):
    """A console whose own codes for colours and bars reach the terminal, and no code in the text that it shows."""

    @property
    def file(self) -> IO[str]:
        """The stream that is written to."""
        stream: Any = super().file
        return getattr(stream, "with_codes", stream)  # of `foundation.output`, which would show the console's codes

    @file.setter
    def file(self, new: IO[str]) -> None:
        self._file = new

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; a run's log gets the same as plain text, without what only moves the cursor."""
        super().print(*objects, **options)
        if is_logged() and not any(isinstance(each, Control) for each in objects):
            text = io.StringIO()
            Console(file=text, width=_LOG_WIDTH, color_system=None, force_terminal=False).print(*objects, **options)
            record("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a text, table or bar."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


@functools.cache
def screen() -> Screen:
    """The console of the standard output that all commands share."""
    return Screen()
