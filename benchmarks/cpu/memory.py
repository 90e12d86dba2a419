"""The memory of a process and its peak, on Linux; None on other systems."""

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

    `ru_maxrss` cannot be used, because a child inherits it from its parent.
    """
    return _field("VmHWM")


def of_files() -> int | None:
    """The part of `resident` that is pages of files, such as the code of libraries, loaded on first use."""
    return _field("RssFile")


def forget_peak() -> bool:
    """Return freed memory to the system, and count the peak from here; False if the system cannot."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc: freed memory stays in the figures
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
