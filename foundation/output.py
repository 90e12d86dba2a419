"""What a command prints, on any console: line by line, what the console lacks escaped; a closed pipe ends no work."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

_CLOSED = (errno.EPIPE, errno.EINVAL)  # Windows answers with the second


class _Lasting:
    """A stream that can be written to when nobody reads it any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # a log shows a line when it is printed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it if the pipe is closed."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop(error)
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
