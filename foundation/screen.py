"""The console of `rich`, on which text from files has no control characters."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from foundation.output import visible


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

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a text, table or bar."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


@functools.cache
def screen() -> Screen:
    """The console of the standard output that all commands share."""
    return Screen()
