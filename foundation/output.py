"""What a command prints, on any console: line by line, what the console lacks escaped; a closed pipe ends no work.

Control characters are shown, not sent: the name of a file or class may be a stranger's, and a terminal obeys codes
that move the cursor, hide lines, or put text on the clipboard.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from foundation.errors import UserError

# Control characters but tab and newline, separators of lines, and signs that change the direction of the text.
_CODES = [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F)]
_CODES += [0x200E, 0x200F, 0x061C, *range(0x2066, 0x206A)]
_VISIBLE = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CODES}

_CLOSED = (errno.EPIPE, errno.EINVAL)  # Windows answers with the second


_logs: list[_Log] = []  # the files that get what is printed, the innermost last


def visible(text: str) -> str:
    """The text with every control character but tab and newline as `\\x1b` is written."""
    return text.translate(_VISIBLE)


class _Lasting:
    """A stream that can be written to when nobody reads it any more. `with_codes` is it for a console's own codes."""

    def __init__(self, stream: Any, codes: bool = False) -> None:
        self._stream, self._codes = stream, codes
        self.with_codes = self if codes else _Lasting(stream, True)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # a log shows a line when it is printed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it if the pipe is closed."""
        try:
            self._stream.write(text if self._codes else visible(text))
        except OSError as error:
            self._drop(error)
        if not self._codes:  # a console's codes, and the bars that it redraws, are for a terminal alone
            record(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what is there if the pipe is closed."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Continue into nothing, as after `| head -1`: the files of the command matter more than its lines."""
        if error.errno not in _CLOSED:
            raise error
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, self._stream.fileno())  # what the stream holds goes there when it is flushed
        finally:
            os.close(nothing)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Standard output and error inside the block are such streams."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(Any, stream and _Lasting(stream)) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError):  # closed in the block
                if stream is not None:
                    stream.flush()
        sys.stdout, sys.stderr = before


def record(text: str) -> None:
    """Add printed text to the file of `logged`, if there is one. A full disk ends the file, not the command."""
    if _logs:
        try:
            _logs[-1].write(visible(text))
        except (OSError, ValueError):
            _logs.pop()


def is_logged() -> bool:
    """Whether `record` has a file."""
    return bool(_logs)


@contextmanager
def logged(path: Path) -> Iterator[Callable[[], None]]:
    """What is printed in the block also goes to the end of the file `path`: lines, tables and errors as plain text.

    Codes of a terminal and bars do not. The file is opened when the yielded function is called, and then gets what was
    printed before: a command that is refused leaves none. The first line has the time and the command. Of a link, or
    of anything else than a file, another file takes the place, so that nothing outside the folder is written to.
    """
    log = _Log(path)
    _logs.append(log)
    try:
        log.write(f"--- {datetime.now().astimezone().isoformat(timespec='seconds')} {visible(' '.join(sys.argv))}\n")
        yield log.begin
    except UserError as error:
        record(f"error: {error}\n")
        raise
    except Exception:
        record(traceback.format_exc())
        raise
    finally:
        if log in _logs:
            _logs.remove(log)
        log.close()


class _Log:
    """The file of `logged`; text before its beginning is kept."""

    def __init__(self, path: Path) -> None:
        self._path, self._kept = path, io.StringIO()
        self._file: IO[str] | None = None

    def begin(self) -> None:
        """Open the file and write what is kept."""
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_nlink > 1)):
            path.unlink()
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        record(self._kept.getvalue())

    def write(self, text: str) -> None:
        """Add text."""
        if self._file is None:
            self._kept.write(text)
        else:
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
