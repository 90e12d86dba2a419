"""The display of training: a bar on a terminal, and one line per epoch; off a terminal lines within long epochs."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.errors import LiveError
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from foundation.progress import Pulse
from foundation.screen import screen

_REFRESH = 0.2  # seconds between reads of the running loss, each of which waits for a GPU


class Progress:
    """The training loop calls its methods; use it as a context manager."""

    def __init__(self, bar: bool = True, lines: bool = True) -> None:
        """With `bar` show a bar if there is a terminal; with `lines` print lines, with or without a terminal."""
        self._lines = lines
        self._pulse = None if screen().is_terminal or not lines else Pulse(screen().file)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=screen(),
            transient=True,
            disable=not (bar and screen().is_terminal),
        )
        self._task = self._bar.add_task("", figures="")
        self._started = self._looked = 0.0
        self._done = 0

    def __enter__(self) -> Progress:
        try:
            self._bar.start()
        except LiveError:  # another bar is on the terminal, such as that of a fit in another thread
            self._bar.disable = True
        if self._pulse is not None:
            self._pulse.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._pulse is not None:
            self._pulse.__exit__(kind, error, trace)

    def begin(self, what: str, images: int, ahead: int = 0) -> None:
        """A new bar over `images`; at most `ahead` images of later epochs follow it."""
        if self._pulse is not None:
            self._pulse.begin(what, images, ahead)
        self._bar.reset(self._task, total=images, description=what, figures="")
        self._started, self._done = time.perf_counter(), 0

    def advance(self, images: int, figures: Callable[[], tuple[float, float]] | None = None) -> None:
        """Advance the bar by `images`; `figures` is called for the running loss and accuracy when they are shown."""
        self._done += images
        if self._pulse is not None:
            self._pulse.update(self._done)
        if self._bar.disable:
            return
        now = time.perf_counter()
        if now - self._looked >= _REFRESH:
            self._looked = now
            text = f"{self._done / (now - self._started):,.0f} images/s"
            if figures is not None:
                loss, accuracy = figures()
                text = f"loss {loss:.4f}  accuracy {accuracy:.4f}  {text}"
            self._bar.update(self._task, figures=text)
        self._bar.update(self._task, completed=self._done)

    def note(self, text: str) -> None:
        """Print a sentence about the training."""
        if self._lines:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def epoch_done(self, row: dict[str, Any], improved: bool) -> None:
        """Print an epoch's line; a star marks the best so far."""
        if not self._lines:
            return
        if self._pulse is not None:
            self._pulse.spoken()
        validation = ""
        if "val_loss" in row:
            star = "*" if improved else " "
            validation = f"val loss {row['val_loss']:.4f} acc {row['val_accuracy']:.4f}{star}  "
        self._bar.console.print(
            f"epoch {row['epoch']:3d}  train loss {row['train_loss']:.4f} acc {row['train_accuracy']:.4f}  {validation}"
            f"lr {row['learning_rate']:.2e}  {row['images_per_second']:,.0f} images/s  {row['seconds']:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
