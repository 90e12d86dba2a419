"""`Trace`: bank conflicts and sectors of every line of the kernels that an emulator in mode "traced" has run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuda_emulator.locate import source_lines
from cuda_emulator.runtime_library import TraceLine, runtime

SECTOR = 32  # bytes


@dataclass(frozen=True)
class Accesses:
    """Accesses of warps to one kind of memory; sums are taken by `+`."""

    count: int = 0
    uniform: int = 0  # those all of whose lanes have the same address, or a single lane
    most_ways: int = 0  # different words in one bank, in one access
    passes: int = 0  # through the banks of shared memory
    least: int = 0  # passes without bank conflicts
    sectors: int = 0  # of 32 bytes of global memory; uniform accesses are not counted here
    useful: int = 0  # bytes of them that lanes asked for

    def __add__(self, other: Accesses) -> Accesses:
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return Accesses(most_ways=max(self.most_ways, other.most_ways), **sums)

    @property
    def ways(self) -> float:
        """Passes that an access takes, over those without conflicts: 1 at best."""
        return self.passes / self.least if self.least else 1.0

    @property
    def efficiency(self) -> float:
        """Bytes that lanes asked for, of those in the sectors that were moved."""
        return self.useful / (SECTOR * self.sectors) if self.sectors else 1.0


_SUMS = ("count", "uniform", "passes", "least", "sectors", "useful")


@dataclass(frozen=True)
class Line:
    """The accesses at one place of a kernel."""

    kernel: str
    places: tuple[str, ...]  # `file:line`, of the access first and then of the calls inlined around it
    space: str  # "shared" or "global"
    kind: str  # "load" or "store"
    array: str  # the argument that points to it; "" in shared memory
    bytes: int  # of a lane
    accesses: Accesses


class Trace:
    """What an emulator has seen so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Path, int, str, str, str, int], Accesses] = {}

    def add_launch(self, kernel: str, library: Path, arguments: Sequence[str]) -> None:
        """Add what the runtime has counted in the last launch, which was of this kernel with these arguments."""
        counted = (TraceLine * runtime().emulator_trace_lines())()
        runtime().emulator_trace(counted)
        for line in counted:
            space, kind = "shared" if line.shared else "global", "store" if line.write else "load"
            array = arguments[line.argument] if line.argument >= 0 else ""
            key = (kernel, library, line.instruction, space, kind, array, line.bytes)
            accesses = Accesses(
                line.accesses, line.uniform, line.most_ways, line.passes, line.least, line.sectors, line.useful
            )
            self._found[key] = self._found.get(key, Accesses()) + accesses

    def lines(self) -> list[Line]:
        """A line for each place, memory, kind and size of access; equal ones of a kernel are added up.

        What only the emulator's own headers read, such as a warpgroup's operands, is left out.
        """
        sums: dict[Line, Accesses] = {}
        for (kernel, library, instruction, *what), accesses in self._found.items():
            if places := source_lines(library, instruction):
                line = Line(kernel, places, *what, Accesses())
                sums[line] = sums.get(line, Accesses()) + accesses
        return [replace(line, accesses=accesses) for line, accesses in sums.items()]

    def clear(self) -> None:
        """Forget everything."""
        self._found.clear()


def total(lines: Iterable[Line]) -> Accesses:
    """The accesses of all lines together."""
    return sum((line.accesses for line in lines), Accesses())
