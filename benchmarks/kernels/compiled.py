"""What NVRTC made of the kernels, kept in the repository, so that only changed kernels are compiled again.

Compiling every kernel for every architecture takes minutes, and the same text always gives the same machine code. So
each result stands in `docs/benchmarks/compiled/` beside a fingerprint of all that it depends on. A result with another
fingerprint is never used.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.records import TABLES
from cnn.kernels import FOLDER, Kernel, compile_options
from cnn.kernels import nvrtc as reading

RECORDS = TABLES / "compiled"

_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|(?P<kept>"(?:\\.|[^"\\\n])*")', re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"(?P<name>[^"\n]+)"', re.MULTILINE)


class Record:
    """Results by name, each with its fingerprint, in a JSON file with a line for each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def find(self, name: str, fingerprint: str) -> Any:
        """The result that is recorded under this name; None unless it has the fingerprint."""
        entry = self._entries.get(name)
        return entry["result"] if entry and entry["of"] == fingerprint else None


def rendered(results: Mapping[str, tuple[str, Any]]) -> str:
    """The text of a record: of fingerprints and results by name."""
    entries = {name: {"of": fingerprint, "result": result} for name, (fingerprint, result) in results.items()}
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in entries.items()) + "\n}\n"


def fingerprint(
    kernels: Iterable[Kernel],
    architecture: int,
    version: tuple[int, int],
    folder: Path = FOLDER,
    readers: Iterable[Path] = (),
) -> str:
    """A hash of all that the machine code of kernels of one file, and what is read of it, depend on.

    These are NVRTC's version and options, the architecture, the kernels' template arguments, the text of the file and
    of the headers that it includes, without comments; and the code that reads the result, which are the module
    `cnn.kernels.nvrtc` and `readers`.
    """
    kernels = list(kernels)
    # Of the options, the folder and the fingerprint of all headers say where the texts lie, and what is in here below.
    options = [each for each in compile_options(folder) if not each.startswith(("-I", "-DKERNEL_HEADERS="))]
    names = [(kernel.name, kernel.expression, kernel.target) for kernel in kernels]
    parts = [repr((version, architecture, options, names))]
    for source in sorted({kernel.source for kernel in kernels}):
        parts += [f"{name}\n{text}" for name, text in sorted(_texts(folder, source).items())]
    parts += [path.read_text(encoding="utf-8") for path in (Path(reading.__file__), *readers)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _texts(folder: Path, source: str) -> dict[str, str]:
    """The text of a file and of all headers of the folder that it includes, directly or not, by name."""
    found: dict[str, str] = {}
    waiting = [source]
    while waiting:
        name = waiting.pop()
        if name not in found and (folder / name).is_file():
            found[name] = _without_comments((folder / name).read_text(encoding="utf-8"))
            waiting += [match["name"] for match in _INCLUDE.finditer(found[name])]
    return found


@functools.lru_cache(maxsize=64)
def _without_comments(text: str) -> str:
    lines = _COMMENT.sub(lambda match: match["kept"] or " ", text).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())
