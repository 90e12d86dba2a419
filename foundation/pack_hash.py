"""The hash of what training reads from a pack, and the packs whose arrays were found to have theirs.

SHA-256 takes a second for each gigabyte. What was hashed once is not hashed again while its files are the same: for
large packs also by a later process, in the cache folder of the user.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation.files import write_json

REMEMBERED_FROM = 2**28  # bytes of a pack; smaller ones are hashed again by each process
_SETTLED = 2.0  # seconds without a change: a change within one tick of a file system's clock would not be seen
_MOST = 1000  # entries of the cache

_known: dict[str, list[Any]] = {}  # of this process: folder -> state of its files, hash


def content_hash(
    images: np.ndarray,
    labels: np.ndarray,
    splits: np.ndarray,
    classes: Sequence[str],
    targets: np.ndarray | None = None,
) -> str:
    """SHA-256 in hexadecimal of what training reads; names, times and the order of the sources do not change it."""
    digest = hashlib.sha256("\n".join(classes).encode())
    for array in (images, labels, splits) if targets is None else (images, labels, splits, targets):
        digest.update(f"\n{array.dtype.str}{array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def verified_hash(
    files: Sequence[Path],
    images: np.ndarray,
    labels: np.ndarray,
    splits: np.ndarray,
    classes: Sequence[str],
    targets: np.ndarray | None = None,
) -> str:
    """The content hash of arrays that `files` hold, from memory if no file has changed since it was computed.

    A file counts as unchanged if its inode, size, time of change and time of status change are the same. The last
    cannot be set, so that a file with an old date put in its place is noticed. On Windows there is no such time, and
    nothing is remembered.
    """
    key, state = str(files[0].resolve().parent), [_state(path) for path in files] + [list(classes)]
    if _lasting(state):
        for remembered in (_known, _cache(images)):
            if remembered.get(key, [None])[0] == state:
                return str(remembered[key][1])
    found = content_hash(images, labels, splits, classes, targets)
    if _lasting(state) and state[:-1] == [_state(path) for path in files]:
        _known[key] = [state, found]
        if images.nbytes >= REMEMBERED_FROM:
            _remember(key, [state, found], _cache(images))
    return found


def _state(path: Path) -> list[int]:
    info = path.stat()
    return [info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]


def _lasting(state: list[Any]) -> bool:
    return os.name == "posix" and time.time() - max(max(each[2:]) for each in state[:-1]) / 1e9 > _SETTLED


def _place() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnn-from-scratch" / "packs.json"


def _cache(images: np.ndarray) -> dict[str, Any]:
    """What earlier processes have found; nothing if it cannot be read."""
    if images.nbytes < REMEMBERED_FROM:
        return {}
    try:
        found = json.loads(_place().read_text("utf-8"))
        return {key: value for key, value in found.items() if isinstance(value, list) and len(value) == 2}
    except (OSError, ValueError, RuntimeError, AttributeError):
        return {}


def _remember(key: str, value: list[Any], cache: dict[str, Any]) -> None:
    cache.pop(key, None)
    with contextlib.suppress(OSError, RuntimeError):  # without it the next process hashes again
        write_json(_place(), {**dict(list(cache.items())[1 - _MOST :]), key: value})
