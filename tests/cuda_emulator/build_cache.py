"""Compiled kernels and the compiled runtime, kept on disk from run to run."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cuda_emulator.errors import EmulatorError

_UNUSED_DAYS = 30
_MOST_OF_AN_ERROR = 6000  # characters of the compiler's output


def cache_folder() -> Path:
    """Where compiled files lie: `$CNN_EMULATOR_CACHE`, or a folder of the user's cache."""
    if named := os.environ.get("CNN_EMULATOR_CACHE"):
        return Path(named)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "cnn-from-scratch" / "emulator"


def fingerprint(*parts: str | bytes) -> str:
    """A hash of all parts in their order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:24]


def build(name: str, commands: Sequence[Sequence[str]], files: dict[str, str] | None = None) -> Path:
    """The file called `name` in the cache, made if need be by running `commands`.

    They run in an empty folder that holds `files`, and leave the result there under the name `output`. Several
    processes may build the same file at once: each renames its own into place.
    """
    folder = cache_folder()
    target = folder / name
    if target.exists():
        with contextlib.suppress(OSError):
            os.utime(target)  # it was used
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _drop_unused(folder)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as place:
        for path, text in (files or {}).items():
            file = Path(place, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for command in commands:
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
            if done.returncode:
                raise EmulatorError(f"{command[0]} failed:\n{done.stderr[:_MOST_OF_AN_ERROR]}")
        os.replace(Path(place, "output"), target)
    return target


@functools.cache
def _drop_unused(folder: Path) -> None:
    """Removes what nobody used for a month; once in a process, and only when something new is built."""
    oldest = time.time() - _UNUSED_DAYS * 24 * 3600
    for file in [*folder.glob("*.so"), *folder.glob("*/*.gch")]:
        with contextlib.suppress(OSError):  # another process may have been first
            if file.stat().st_mtime < oldest:
                file.unlink()
