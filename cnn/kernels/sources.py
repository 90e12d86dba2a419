"""The folder of the `.cu` files and their compile options, for CuPy, the emulator and NVRTC without a GPU."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent


def source_text(name: str, folder: Path = FOLDER) -> str:
    """The text of the kernel file `name`."""
    return (folder / name).read_text(encoding="utf-8")


def compile_options(folder: Path = FOLDER, target: str = "") -> tuple[str, ...]:
    """The compile options of every kernel file; `target` is an architecture such as "90a", if not that of the device.

    The key of CuPy's disk cache has the source and the options but not the included headers, so their fingerprint is
    passed as an option.
    """
    # NVRTC compiles for a target even where CuPy adds an option for the device's plain architecture.
    architecture = (f"-arch=sm_{target}",) if target else ()
    return ("-std=c++17", f"-I{folder}", f"-DKERNEL_HEADERS={_headers_fingerprint(folder)}", *architecture)


def options_for_nvrtc(version: tuple[int, int]) -> tuple[str, ...]:
    """The options besides that an NVRTC of this version needs.

    NVRTC 12 takes a generic lambda inside a kernel for a function of the host, unless functions are the device's by
    default.
    """
    return ("-default-device",) if version < (13, 0) else ()


@functools.cache
def _headers_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.cuh")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"0x{digest.hexdigest()[:8]}"
