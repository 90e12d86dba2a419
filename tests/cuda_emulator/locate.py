"""From an address in a compiled kernel to the lines of its source."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

from cuda_emulator import toolchain

_PLACE = re.compile(r"^(?P<file>.*):(?P<line>\d+)(?: \(discriminator \d+\))?$")


@functools.lru_cache(maxsize=4096)
def source_lines(library: Path, offset: int) -> tuple[str, ...]:
    """`file:line` of the instruction before `offset`, and of the calls that were inlined around it, innermost first.

    The emulator's own headers are left out.
    """
    command = ["addr2line", "-i", "-e", str(library), hex(offset - 1)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    places = []
    for text in output.splitlines():
        match = _PLACE.match(text)
        if not match or match["line"] == "0" or _is_ours(match["file"]):
            continue
        place = f"{Path(match['file']).name}:{match['line']}"
        if place not in places:
            places.append(place)
    return tuple(places)


def _is_ours(file: str) -> bool:
    path = Path(file)
    return toolchain.INCLUDE in path.parents or toolchain.cuda_include() in path.parents or path.name == "exports"
