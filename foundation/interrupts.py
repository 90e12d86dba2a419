"""Signals that end a command: it stops where it would at Ctrl-C, and its exit status names the signal.

A scheduler sends SIGTERM before the time of a job is over, and a closed terminal SIGHUP. Files are complete or absent
at every moment, so that a second signal, from somebody who does not want to wait, ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Stopped(KeyboardInterrupt):
    """A signal has come; `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def _stop(number: int, frame: FrameType | None) -> None:
    for each in _numbers():
        signal.signal(each, _leave)
    raise Stopped(number)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


@contextmanager
def ending_signals() -> Iterator[None]:
    """In the block such a signal raises `Stopped`, and the next one ends the process. Only in the main thread.

    A signal that was ignored before, as SIGHUP is by nohup, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _numbers()}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
