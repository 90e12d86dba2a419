"""What a kernel's main loop consists of in machine code."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LABEL = re.compile(r"^\s*(?P<label>\.L_\w+):")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?P<text>[^;]*\S)\s*;")
_BRANCH = re.compile(r"\bBRA\b.*?(?P<label>\.L_\w+)")
_PREDICATE = re.compile(r"^@!?U?P\w+\s+")
_IDLE = re.compile(r"^(@!U?PT\b|NOP\b)")  # what never does anything


@functools.cache
def disassembler() -> str | None:
    """Where `nvdisasm` is, of its wheel or on the path; None where it is not installed."""
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        for program in sorted(Path(folder).glob("*/bin/nvdisasm"), reverse=True):
            return str(program)
    return shutil.which("nvdisasm")


def disassembled(cubin: bytes) -> str:
    """The machine code as text."""
    program = disassembler()
    assert program, "nvdisasm is not installed"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([program, "-c", file.name], capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Loop:
    """The instructions of a loop, such as `@P0 LDG.E R1, [R2]`; those that never do anything are left out."""

    instructions: Sequence[str]

    @functools.cached_property
    def counts(self) -> Counter[str]:
        """How often each operation stands there, by its first word: HMMA, LDSM."""
        return Counter(operation(text).partition(".")[0] for text in self.instructions)

    @classmethod
    def of(cls, counted: Mapping[str, int]) -> Loop:
        """The loop of these instructions, each so often."""
        return cls(list(Counter(counted).elements()))

    @property
    def counted(self) -> dict[str, int]:
        """How often each instruction stands there, by its operation; by its operand too where that is judged.

        Enough for `Loop.of` to be judged as this loop is.
        """
        return dict(sorted(Counter(map(_kind, self.instructions)).items()))

    @property
    def fraction(self) -> float:
        """Of a warp's own tensor-core instructions among all."""
        return self.counts["HMMA"] / len(self.instructions)


def main_loop(listing: str) -> Loop:
    """What lies between a backward branch and its target: of all such loops the shortest with the most HMMA or HGMMA.

    Raises ValueError where no loop has any.
    """
    instructions: list[str] = []
    labels: dict[str, int] = {}
    best: tuple[int, int, list[str]] = (0, 0, [])
    for line in listing.splitlines():
        if label := _LABEL.match(line):
            labels[label["label"]] = len(instructions)
        elif found := _INSTRUCTION.match(line):
            instructions.append(found["text"])
            branch = _BRANCH.search(found["text"])
            if branch and branch["label"] in labels:
                body = instructions[labels[branch["label"]] :]
                multiplications = sum(operation(text).startswith(("HMMA", "HGMMA")) for text in body)
                best = max(best, (multiplications, -len(body), body))
    if not best[0]:
        raise ValueError("no loop multiplies by tensor cores")
    return Loop([text for text in best[2] if not _IDLE.match(text)])


def _kind(text: str) -> str:
    """The operation, with what `benchmarks.main_loops` asks of the operands of calls, waits and products."""
    name = operation(text)
    if name.startswith("CALL"):
        return f"{name} {'.L_x_' if '.L_x_' in text else 'function'}"
    if name.startswith("WARPGROUP.DEPBAR"):
        return f"{name} {text.rpartition(' ')[2]}"
    return f"{name} gsb0" if name.startswith("HGMMA") and "gsb0" in text else name


def operation(text: str) -> str:
    """The instruction's operation without its predicate: `LDGSTS.E.BYPASS.128`."""
    return _PREDICATE.sub("", text).split()[0]
