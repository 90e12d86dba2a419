"""The lock of a run's folder: one process at a time writes there.

It is taken before Hydra writes what it has composed into the folder, so that of two runs that begin at the same time in
one folder only one leaves anything there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from foundation.errors import UserError
from foundation.files import locked

LOCK = ".run.lock"  # held by the process that writes into the folder

_held: dict[Path, ExitStack] = {}


def take(folder: Path) -> None:
    """Take the lock of the folder, which `run_locks` gives back. Raises `UserError` if another process has it."""

    def refuse() -> None:
        raise UserError(f"{folder}: another process runs in this folder")

    if (key := folder.resolve()) not in _held:
        stack = ExitStack()
        stack.enter_context(_removed_if_empty(folder))
        stack.enter_context(locked(folder / LOCK, refuse))
        _held[key] = stack


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """The folder, if it was not there before the block and is empty after it, is removed."""
    new = not folder.exists()
    try:
        yield
    finally:
        if new:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def run_locks() -> Iterator[None]:
    """The locks that are taken in the block are given back at its end."""
    before = set(_held)
    try:
        yield
    finally:
        for key in set(_held) - before:
            _held.pop(key).close()
