"""How much memory a process holds, and held at most. On Linux; elsewhere nobody counts."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> int | None:
    """Bytes of this process that are in memory now."""
    return _field("VmRSS")


def peak() -> int | None:
    """The most bytes that were in memory since the start or the last `forget_peak`.

    `ru_maxrss` would not do: a child inherits it from the process that started it.
    """
    return _field("VmHWM")


def of_files() -> int | None:
    """The part of `resident` that is pages of files: the code of libraries, read in as it is first used."""
    return _field("RssFile")


def forget_peak() -> bool:
    """Give freed memory back, and let the peak count from here; False where the system cannot."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc: what was freed stays in the figures
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _field(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
