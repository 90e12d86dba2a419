"""A mutant: one exact replacement in the text of one kernel file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cnn.kernels import FOLDER, source_names

_INCLUDE = re.compile(r'^#include "(?P<name>[^"]+)"', re.MULTILINE)


class MutantError(Exception):
    """A mutant does not fit the kernels any more, or is none; the message says which and why."""


@dataclass(frozen=True)
class Mutant:
    """The `nth` occurrence of `old` in `file`, of `of` that there are, becomes `new`."""

    file: str
    kind: str
    name: str  # what is wrong then; unique within the file
    old: str
    new: str
    nth: int = 1
    of: int = 1
    may_survive: str = ""  # why no test can be expected to notice

    @property
    def id(self) -> str:
        """The mutant's name among all."""
        return f"{self.file}: {self.name}"

    def apply(self, text: str) -> str:
        """The mutated text of the file. Raises `MutantError` unless `old` occurs exactly `of` times."""
        found = text.count(self.old)
        if found != self.of or not 1 <= self.nth <= self.of:
            raise MutantError(f"{self.id}: the text occurs {found} times, not {self.of}: {self.old!r}")
        if self.old == self.new:
            raise MutantError(f"{self.id}: nothing changes")
        parts = text.split(self.old)
        return self.old.join(parts[: self.nth]) + self.new + self.old.join(parts[self.nth :])

    def line(self, text: str) -> int:
        """The line of the file in which the replacement begins to differ."""
        parts = text.split(self.old)
        begin = len(self.old.join(parts[: self.nth]))
        shorter = min(len(self.old), len(self.new))
        same = next((i for i in range(shorter) if self.old[i] != self.new[i]), shorter)
        blank = len(self.old[same:]) - len(self.old[same:].lstrip())
        return text.count("\n", 0, begin + same + blank) + 1


def write_kernels(folder: Path, mutant: Mutant | None) -> None:
    """All kernel files into `folder`, the mutant's own mutated. A file that stays the same is not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {path.name: path.read_text(encoding="utf-8") for path in kernel_files()}
    if mutant:
        if mutant.file not in texts:
            raise MutantError(f"{mutant.id}: there is no such file")
        texts[mutant.file] = mutant.apply(texts[mutant.file])
    for path in folder.glob("*.cu*"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def kernel_files() -> list[Path]:
    """Every `.cu` and `.cuh` file."""
    return sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")])


def sources_with(file: str) -> set[str]:
    """The `.cu` files that a change of `file` reaches: itself, or all that include it."""
    return {source for source in source_names() if file in closure(source)}


def closure(file: str) -> set[str]:
    """The file, and what it includes, directly or not."""
    found, waiting = set(), [file]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _INCLUDE.findall((FOLDER / name).read_text(encoding="utf-8"))
    return found
