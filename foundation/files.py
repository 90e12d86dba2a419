"""Files and folders that are complete or absent: they are written under a temporary name, flushed and renamed."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation.errors import UserError

LARGEST_JSON = 2**26  # bytes; a pack's description has some thousands

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")  # names of `atomic_path`
_MANY = 100  # files from which one `sync` is faster than flushing each


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` if the block succeeds, remove it if not.

    The temporary name keeps the target's suffix, because libraries choose a format by it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`, which replaces `target` if the block succeeds.

    An existing folder at `target` is replaced only when the new one is complete. Temporary folders that a killed
    process has left are removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    with _held(temporary):  # before it is there: a folder without a holder is abandoned
        temporary.mkdir(mode=0o700)
        yield from _filled(temporary, target)


def _filled(temporary: Path, target: Path) -> Iterator[Path]:
    try:
        yield temporary
        _flush([path for path in temporary.rglob("*") if path.is_file()])
        temporary.chmod(0o777 & ~_umask())
        _swap_in(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _flush(files: list[Path]) -> None:
    if len(files) > _MANY and hasattr(os, "sync"):
        os.sync()
        return
    for path in files:
        with path.open("rb+") as written:
            os.fsync(written.fileno())


def leftovers(folder: Path) -> list[Path]:
    """The temporary files in a folder: of processes that write, or that were killed."""
    files = (path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name))
    return sorted(path for path in files if path.is_file() and not path.is_symlink())


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in a folder; only for who alone writes there."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, busy: Callable[[], object]) -> Iterator[None]:
    """Hold the lock file `path` during the block; it ends with the process, however that ends.

    If another process holds it, `busy` is called once and then waited for; what `busy` raises ends the waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, ours = _lock(path)
    if not ours:
        busy()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def in_use(path: Path) -> bool:
    """Whether a process holds the lock file `path`."""
    if not path.exists():
        return False
    lock, ours = _lock(path)
    lock.release()
    return not ours


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold the lock of the folder until the block or the process ends; False if another process holds it."""
    beside = folder.with_name(f"{folder.name}.lock")  # not inside: Windows renames no folder that has an open file
    lock, ours = _lock(beside)
    try:
        yield ours
    finally:
        if ours:
            lock.release()
            beside.unlink(missing_ok=True)


def _lock(path: Path) -> tuple[Any, bool]:
    """The lock of that file, and whether it is held now; another process may hold it."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - single files are written without it

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return lock, False
    return lock, True


def _remove_abandoned(target: Path) -> None:
    for left in target.parent.iterdir():
        try:
            own = left.name.startswith(f".{target.name}.")
            if own and left.is_dir():
                with _held(left) as abandoned:
                    if abandoned:
                        shutil.rmtree(left, ignore_errors=True)
            elif own and left.suffix == ".lock" and left.name.count(".") > target.name.count(".") + 2:
                with _held(left.with_suffix("")):  # perhaps of a process that was killed before it made the folder
                    pass
        except OSError:
            continue  # another process has just removed it


def _swap_in(temporary: Path, target: Path) -> None:
    """Rename `temporary` to `target`, and remove an existing target."""
    for last in (False, True):
        if target.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            retired.rmdir()  # Windows renames no folder to one that exists
            target.replace(retired)
            shutil.rmtree(retired, ignore_errors=True)
        try:
            temporary.replace(target)
            return
        except OSError as error:
            # Another process put its folder there between the two steps: remove that one too, once.
            if last or error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8; the file is complete or unchanged."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON; the file is complete or unchanged. Raises `ValueError` for NaN and infinity."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing, malformed or very large one is a `UserError` that names it."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} is no file")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise UserError(f"{path} has more than {LARGEST_JSON >> 20} MiB, the most that is read of a JSON file")
        return json.loads(content)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except UserError:
        raise
    except (ValueError, RecursionError) as error:  # RecursionError: a hundred thousand brackets
        raise UserError(f"{path} is not valid JSON ({error})") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
