"""Where the `.cu` files lie and what they are compiled with, on a GPU, in the emulator and by NVRTC alone."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent


def source_text(name: str, folder: Path = FOLDER) -> str:
    """The text of the kernel file `name`."""
    return (folder / name).read_text(encoding="utf-8")


def compile_options(folder: Path = FOLDER) -> tuple[str, ...]:
    """The options that every kernel file is compiled with.

    CuPy's disk cache knows the source and the options but not the headers that a source includes, so their
    fingerprint is an option.
    """
    return ("-std=c++17", f"-I{folder}", f"-DKERNEL_HEADERS={_headers_fingerprint(folder)}")


@functools.cache
def _headers_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.cuh")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"0x{digest.hexdigest()[:8]}"
