"""`python -m benchmarks.main_loops`: what the main loops of the tensor-core kernels consist of, and what they may.

Compiles with NVRTC and disassembles with nvdisasm; no GPU is needed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.kernels.disassembly import Loop, disassembled, disassembler, main_loop
from benchmarks.kernels.occupancy import Occupancy, occupancy
from benchmarks.records import TABLES, write_or_check
from cnn.kernels import FOLDER, KERNELS, Kernel
from cnn.kernels.families.tensor_rules import BYTES, TensorTile
from cnn.kernels.nvrtc import CompileError, NvrtcMissingError, Resources, machine_code, nvrtc_version

TABLE = TABLES / "main_loops.md"

# Blocks of each tile (m x n x bytes of a step) that a multiprocessor is to hold at once, by architecture; where there
# is no number it does not run, for want of shared memory.
BLOCKS = {
    "256x128x128": {90: 1},
    "128x128x128": {80: 1, 90: 2, 120: 1},
    "128x64x128": {80: 2, 90: 3, 120: 1},
    "64x128x128": {80: 2, 90: 3, 120: 1},
    "128x32x128": {80: 2, 90: 3, 120: 1},
    "64x64x128": {80: 3, 90: 4, 120: 2},
    "128x64x64": {80: 3, 90: 4, 120: 2},
    "128x32x64": {80: 4, 90: 5, 120: 2},
    "64x32x128": {80: 4, 90: 6, 120: 2},
}

# Of the loop's instructions, how many multiply, at least: in full tiles of 128 and more each way, and in others.
FULL, OTHER = 0.45, 0.32
# Shared-memory cycles for each multiplication, at most.
CYCLES = 1.75
# Other limits, by patterns of kernel names: the fraction, the cycles, and why.
EXCEPTIONS: dict[str, tuple[float, float, str]] = {
    "*_64x64x64_any_bf16": (0.2, 2.5, "warps of 64x32, for products of few tiles"),
    "*_128x32x64_any_bf16": (0.23, 2.75, "32 columns: warps of 64x32, and few of them to share the copies"),
    "*_128x64x32_any_bf16": (0.3, 1.75, "steps of 32 channels: half as many multiplications a step"),
    "*_128x32x32_any_bf16": (0.2, 2.75, "both: steps of 32 channels to 32 columns"),
    "*_tf32": (0.11, 2.5, "operands are rounded, and those along the result read, one by one"),
    "*_64x32x64_any_bf16": (0.12, 3.5, "32 filters: warps of 32x32"),
}
# What reads global or local memory around the pipeline, and what divides.
FORBIDDEN = ("LDG", "LD", "LDL", "STL", "STG", "I2F", "F2I", "MUFU")


@dataclass(frozen=True)
class Row:
    """The main loop of a kernel on one architecture."""

    kernel: Kernel
    architecture: int
    loop: Loop
    used: Resources

    @property
    def tile(self) -> TensorTile:
        """What a block computes."""
        return tile_of(self.kernel)

    @property
    def cycles(self) -> float:
        """Cycles of shared memory for each multiplication: of 128 bytes; an ldmatrix moves 512, a load 128."""
        tile, counts, warps = self.tile, self.loop.counts, self.tile.threads // 32
        copied = (tile.m + tile.n) * tile.k * BYTES[tile.element]
        return ((counts["LDSM"] * 512 + counts["LDS"] * 128) * warps + copied) / 128 / (counts["HMMA"] * warps)

    @property
    def fits(self) -> Occupancy:
        """How many blocks a multiprocessor holds."""
        shared = self.used.shared + self.kernel.dynamic_shared_bytes({})
        return occupancy(self.architecture, self.tile.threads, self.used.registers, shared)

    @property
    def limits(self) -> tuple[float, float]:
        """The least fraction of multiplications, and the most cycles."""
        for pattern, (fraction, cycles, _) in EXCEPTIONS.items():
            if fnmatch(self.kernel.name, pattern):
                return fraction, cycles
        full = self.tile.fits and min(self.tile.m, self.tile.n) >= 128
        return FULL if full else OTHER, CYCLES

    def faults(self) -> list[str]:
        """What the loop has, or lacks, that it may not."""
        tile, counts = self.tile, self.loop.counts
        fraction, cycles = self.limits
        copies = (tile.m + tile.n) * tile.k * BYTES[tile.element] // 16 // tile.threads
        # On sm_80 the compiler leaves a loop by a CALL to a label of the same function; a real one is to a function.
        calls = [text for text in self.loop.instructions if "CALL" in text and ".L_x_" not in text]
        narrow = [text for text in self.loop.instructions if "LDGSTS" in text and ".128" not in text]
        planned = BLOCKS[_size(tile)][self.architecture]
        checks = {
            f"{self.loop.fraction:.1%} of the loop multiply, less than {fraction:.0%}": self.loop.fraction < fraction,
            f"{self.cycles:.2f} shared-memory cycles a multiplication, more than {cycles}": self.cycles > cycles,
            f"{counts['LDSM']} LDSM for {counts['HMMA']} HMMA, more than one for four": (
                fraction == FULL and 4 * counts["LDSM"] > counts["HMMA"]
            ),
            f"{counts['LDGSTS']} copies a thread, not {copies}": counts["LDGSTS"] != copies,
            f"copies of less than 16 bytes: {narrow[:1]}": bool(narrow),
            f"{counts['BAR']} barriers, not one": counts["BAR"] != 1,
            f"calls: {calls[:1]}": bool(calls),
            f"{self.fits.blocks} blocks a multiprocessor, not {planned}": self.fits.blocks < planned,
            **{f"{counts[name]} {name} in the loop": counts[name] > 0 for name in FORBIDDEN},
        }
        where = f"{self.kernel.name} on sm_{self.architecture}"
        return [f"{where}: {what}" for what, wrong in checks.items() if wrong]


def tile_of(kernel: Kernel) -> TensorTile:
    """The tile of a kernel of tensor cores."""
    assert kernel.tiling
    assert isinstance(kernel.tiling.tile, TensorTile)
    return kernel.tiling.tile


def _size(tile: TensorTile) -> str:
    return f"{tile.m}x{tile.n}x{tile.k * BYTES[tile.element]}"


def tensor_kernels() -> list[Kernel]:
    """The kernels of tensor cores."""
    return [kernel for kernel in KERNELS.values() if kernel.tiling and isinstance(kernel.tiling.tile, TensorTile)]


def jobs() -> list[tuple[Kernel, int]]:
    """Every such kernel, for each architecture that it runs on."""
    return [(kernel, each) for kernel in tensor_kernels() for each in BLOCKS[_size(tile_of(kernel))]]


def compiled(kernel: Kernel, architecture: int, folder: Path = FOLDER) -> Row:
    """The kernel's main loop. Raises CompileError, and ValueError where there is none."""
    cubin, used = machine_code(kernel, architecture, folder)
    return Row(kernel, architecture, main_loop(disassembled(cubin)), used)


def measure() -> list[Row]:
    """All of them."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda job: compiled(*job), jobs()))


def render(rows: Iterable[Row], version: tuple[int, int]) -> str:
    """The table as Markdown; `rows_of` reads it back."""
    lines = [
        "# What the main loops of the tensor-core kernels consist of",
        "",
        "Written by `python -m benchmarks.main_loops --write`; a test compares it with the kernels.",
        "",
        f"Machine code as NVRTC {version[0]}.{version[1]} compiles it. HMMA multiplies, LDSM is ldmatrix, LDGSTS "
        "cp.async of 16 bytes.",
        "Instructions that never do anything (NOP, predicate false) are not counted. Cycles: of shared memory for each "
        "HMMA;",
        "blocks: that a multiprocessor holds, and what bounds them.",
        "",
        f"At least {FULL:.0%} of a loop multiply in full tiles of 128 and more each way, {OTHER:.0%} in others; at",
        f"most {CYCLES} cycles; no plain load or store of global or local memory, no division, no call, one barrier. "
        "Other",
        "limits, and why:",
        "",
        *(
            f"- `{pattern}`: {fraction:.0%}, {cycles} cycles: {why}"
            for pattern, (fraction, cycles, why) in EXCEPTIONS.items()
        ),
        "",
        "| kernel | architecture | registers | loop | HMMA | LDSM | LDGSTS | HMMA of loop | cycles | blocks |",
        "| --- | --- |" + " ---: |" * 7 + " --- |",
    ]
    for row in rows:
        counts = row.loop.counts
        cells = [
            row.kernel.name,
            f"sm_{row.architecture}",
            *(str(number) for number in (row.used.registers, len(row.loop.instructions))),
            *(str(counts[name]) for name in ("HMMA", "LDSM", "LDGSTS")),
            f"{row.loop.fraction:.0%}",
            f"{row.cycles:.2f}",
            f"{row.fits.blocks}, {row.fits.limit}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rows_of(text: str) -> dict[tuple[str, str], str]:
    """The rows of a rendered table, by kernel and architecture."""
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return {tuple(row.removeprefix("| ").split(" | ")[:2]): row for row in rows}  # type: ignore[misc]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 1 where a loop is not as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.main_loops",
        description="What the main loops of the tensor-core kernels consist of. Needs NVRTC and nvdisasm, but no GPU.",
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/main_loops.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 if that file is out of date")
    chosen = parser.parse_args(arguments)
    if disassembler() is None:
        print("error: nvdisasm is needed: pip install nvidia-cuda-nvdisasm", file=sys.stderr)
        return 2
    try:
        version, rows = nvrtc_version(), measure()
    except (NvrtcMissingError, CompileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    faults = [fault for row in rows for fault in row.faults()]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if chosen.write or chosen.check:
        return write_or_check(TABLE, render(rows, version), chosen.check) or int(bool(faults))
    print(render(rows, version))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
