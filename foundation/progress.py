"""Lines about long work for whoever watches a log: where there is a terminal, bars are shown instead.

Short work stays silent. A line tells the stage, how much of it is done, and the time left at the rate so far.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any

from foundation.output import visible

FIRST = 10.0  # seconds of a stage before its first line
EACH = 30.0  # seconds between two lines, of whatever stage
_WAKE = 1.0  # seconds between looks at the clock while nothing is reported


class Pulse:
    """Prints a line about the current stage now and then, from a thread of its own as long as the context is open."""

    _last = float("-inf")  # when any of them printed a line
    _lock = threading.Lock()

    def __init__(self, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`stream` is the standard error if None."""
        self._stream, self._clock = stream, clock
        self._what, self._done, self._total, self._ahead = "", 0, 0, 0
        self._began = clock()
        self._end = threading.Event()

    def __enter__(self) -> Pulse:
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def begin(self, what: str, total: int = 0, ahead: int = 0) -> None:
        """A new stage of `total` items, 0 if that is unknown. `ahead` items of equal cost follow it in later stages."""
        with Pulse._lock:
            self._what, self._done, self._total, self._ahead, self._began = what, 0, total, ahead, self._clock()

    def update(self, done: int, total: int | None = None) -> None:
        """Set the number of items that are done, and of all if it is known now; print a line if it is time for one."""
        with Pulse._lock:
            self._done, self._total = done, self._total if total is None else total
            self._speak()

    def spoken(self) -> None:
        """Another line has just been printed, such as that of an epoch."""
        Pulse._last = self._clock()

    def _watch(self) -> None:
        while not self._end.wait(_WAKE):
            with Pulse._lock:
                self._speak()

    def _speak(self) -> None:
        now = self._clock()
        if not self._what or now - self._began < FIRST or now - Pulse._last < EACH:
            return
        Pulse._last = now
        try:
            # As a bar on a terminal it is of the moment: a run's log does not get it.
            stream: Any = self._stream or sys.stderr
            print(visible(self._line(now - self._began)), file=getattr(stream, "with_codes", stream), flush=True)
        except (OSError, ValueError):  # nobody reads any more
            self._what = ""

    def _line(self, seconds: float) -> str:
        if not self._total:
            return f"{self._what}: {duration(seconds)} so far"
        line = f"{self._what}: {self._done:,} of {self._total:,}"
        if not self._done > 0:
            return f"{line}, {duration(seconds)} so far"
        per_item, left = seconds / self._done, max(0, self._total - self._done)
        line += f", about {duration(per_item * left)} left"
        return line + (f", {duration(per_item * (left + self._ahead))} with all that follows" if self._ahead else "")


def duration(seconds: float) -> str:
    """Seconds as a person would say them: 40 s, 5 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
