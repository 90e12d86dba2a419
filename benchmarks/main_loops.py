"""`python -m benchmarks.main_loops`: what the main loops of the tensor-core kernels consist of, and what they may.

Compiles with NVRTC and disassembles with nvdisasm; no GPU is needed. What was compiled before is taken from its record,
unless `--check` compiles all of it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.kernels import disassembly
from benchmarks.kernels.compiled import RECORDS, Record, fingerprint, rendered
from benchmarks.kernels.disassembly import Loop, disassembled, disassembler, main_loop
from benchmarks.kernels.occupancy import Occupancy, occupancy
from benchmarks.records import TABLES, write_or_check
from cnn.kernels import FOLDER, KERNELS, Kernel
from cnn.kernels.families.tensor_rules import BYTES, TensorTile
from cnn.kernels.nvrtc import CompileError, NvrtcMissingError, Resources, machine_code, nvrtc_version
from foundation.extras import install_command
from foundation.files import write_text

TABLE = TABLES / "main_loops.md"
RECORD = RECORDS / "main_loops.json"

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
# The same of products by warpgroups: m x n x step, and stages; "d" where a step's products end before the next begin.
WARPGROUP_BLOCKS = {
    "128x256x64_warpgroups4": 1,
    "256x128x64_warpgroups4": 1,
    "128x128x64_warpgroups6": 1,
    "128x128x64_warpgroups3d": 2,
    "128x64x64_warpgroups4d": 2,
}

# Of the loop's instructions, how many multiply, at least: in full tiles of 128 and more each way, and in others.
FULL, OTHER = 0.45, 0.32
# Shared-memory cycles for each multiplication, at most.
CYCLES = 1.75
# Of products by warpgroups, whose one instruction multiplies for N / 2 cycles: instructions of a loop for each cycle
# that the products take, of the one that can be issued; at most. In tiles of 128 and more each way, and in others.
ISSUED, ISSUED_NARROW = 0.55, 1.0
# Other limits, by patterns of kernel names: the fraction, the cycles, and why.
EXCEPTIONS: dict[str, tuple[float, float, str]] = {
    "*_64x64x64_any_bf16": (0.2, 2.5, "warps of 64x32, for products of few tiles"),
    "*_128x32x64_any_bf16": (0.23, 2.75, "32 columns: warps of 64x32, and few of them to share the copies"),
    "*_128x64x32_any_bf16": (0.3, 1.75, "steps of 32 channels: half as many multiplications a step"),
    "*_128x32x32_any_bf16": (0.2, 2.75, "both: steps of 32 channels to 32 columns"),
    "*_tf32": (0.11, 2.5, "operands are rounded, and those along the result read, one by one"),
    "*_64x32x64_any_bf16": (0.12, 3.5, "32 filters: warps of 32x32"),
}
# Above the table of products by warpgroups.
_WARPGROUPS = f"""\
## Products by warpgroups (wgmma)

One HGMMA multiplies 64 × 16 by 16 × N in N / 2 cycles of the tensor cores of all four quarters of a multiprocessor, as
they do 2,048 multiply-adds of bfloat16 a cycle. It reads both operands from shared memory and runs on by itself.

Issued: instructions of a loop, of both warps of a quarter, for each of these cycles; a quarter issues one a cycle. At
most {ISSUED} in tiles of 128 and more each way: then each may wait nearly as long again, and the products still run on.
At most {ISSUED_NARROW:.0f} in tiles of 64 columns, which compute the same addresses for half the products.

Cycles: of shared memory for each 2,048 multiply-adds, as many as an HMMA does; at most {CYCLES}. Above 1 they bound the
products before the tensor cores do.

A loop has one group of products and one wait: for all groups in tiles marked d (two blocks share a multiprocessor, one
multiplies while the other waits), else for all but the last. It has one fence between copies and products, and ptxas
does not say that it serializes products. The emulator sees none of these."""

# What reads global or local memory around the pipeline, and what divides.
FORBIDDEN = ("LDG", "LD", "LDL", "STL", "STG", "I2F", "F2I", "MUFU")


@dataclass(frozen=True)
class Row:
    """The main loop of a kernel on one architecture."""

    kernel: Kernel
    architecture: int
    loop: Loop
    used: Resources
    warnings: tuple[str, ...] = ()

    @property
    def tile(self) -> TensorTile:
        """What a block computes."""
        return tile_of(self.kernel)

    @property
    def cycles(self) -> float:
        """Cycles of shared memory for each multiplication: of 128 bytes; an ldmatrix moves 512, a load 128.

        A warpgroup's product of 64 x N reads both operands itself, and is N / 2 multiplications of a warp.
        """
        tile, counts, warps = self.tile, self.loop.counts, self.tile.threads // 32
        copied = (tile.m + tile.n) * tile.k * BYTES[tile.element]
        if tile.warpgroups:
            products = counts["HGMMA"] * warps // 4
            return (products * (64 + tile.n) * 32 + copied) / 128 / (products * tile.n / 2)
        return ((counts["LDSM"] * 512 + counts["LDS"] * 128) * warps + copied) / 128 / (counts["HMMA"] * warps)

    @property
    def issued(self) -> float:
        """Instructions of a quarter of a multiprocessor for each cycle of a step's products by warpgroups.

        A quarter has a warp of each warpgroup. Its tensor cores do 16 x N x 16 multiply-adds in N / 2 cycles.
        """
        return len(self.loop.instructions) / (self.loop.counts["HGMMA"] * self.tile.n / 2)

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
        cycles = self.limits[1]
        copies = (tile.m + tile.n) * tile.k * BYTES[tile.element] // 16 // tile.threads
        # On sm_80 the compiler leaves a loop by a CALL to a label of the same function; a real one is to a function.
        calls = [text for text in self.loop.instructions if "CALL" in text and ".L_x_" not in text]
        narrow = [text for text in self.loop.instructions if "LDGSTS" in text and ".128" not in text]
        planned = blocks_of(tile)[self.architecture]
        checks = {
            **(self._warpgroups() if tile.warpgroups else self._warps()),
            f"{self.cycles:.2f} shared-memory cycles a multiplication, more than {cycles}": self.cycles > cycles,
            f"{counts['LDGSTS']} copies a thread, not {copies}": counts["LDGSTS"] != copies,
            f"copies of less than 16 bytes: {narrow[:1]}": bool(narrow),
            f"{counts['BAR']} barriers, not one": counts["BAR"] != 1,
            f"calls: {calls[:1]}": bool(calls),
            f"{self.fits.blocks} blocks a multiprocessor, not {planned}": self.fits.blocks < planned,
            **{f"the compiler says: {warning}": True for warning in self.warnings if "#128-D" not in warning},
            **{f"{counts[name]} {name} in the loop": counts[name] > 0 for name in FORBIDDEN},
        }
        where = f"{self.kernel.name} on sm_{self.architecture}"
        return [f"{where}: {what}" for what, wrong in checks.items() if wrong]

    def _warps(self) -> dict[str, bool]:
        """What may be wrong with products by warps."""
        counts, fraction = self.loop.counts, self.limits[0]
        return {
            f"{self.loop.fraction:.1%} of the loop multiply, less than {fraction:.0%}": self.loop.fraction < fraction,
            f"{counts['LDSM']} LDSM for {counts['HMMA']} HMMA, more than one for four": (
                fraction == FULL and 4 * counts["LDSM"] > counts["HMMA"]
            ),
        }

    def _warpgroups(self) -> dict[str, bool]:
        """What may be wrong with products by warpgroups; the emulator does not know what they wait for."""
        tile, texts, counts = self.tile, self.loop.instructions, self.loop.counts
        wanted = tile.k // 16 * (tile.m // 128)
        groups = sum("HGMMA" in text and "gsb0" in text for text in texts)
        waits = [text for text in texts if "WARPGROUP.DEPBAR" in text]
        left = "0x0" if tile.drained else "0x1"
        issued = ISSUED if min(tile.m, tile.n) >= 128 else ISSUED_NARROW
        return {
            f"{counts['HGMMA']} products a step, not {wanted}": counts["HGMMA"] != wanted,
            f"{groups} groups of products, not one": groups != 1,
            f"waits for products: {waits}, not one that leaves {left}": len(waits) != 1 or not waits[0].endswith(left),
            f"{counts['FENCE']} fences between copies and products, not one": counts["FENCE"] != 1,
            f"{counts['LDS'] + counts['LDSM']} loads of shared memory": counts["LDS"] + counts["LDSM"] > 0,
            f"{self.issued:.2f} instructions a cycle of the products, more than {issued}": self.issued > issued,
        }


def tile_of(kernel: Kernel) -> TensorTile:
    """The tile of a kernel of tensor cores."""
    assert kernel.tiling
    assert isinstance(kernel.tiling.tile, TensorTile)
    return kernel.tiling.tile


def _size(tile: TensorTile) -> str:
    return f"{tile.m}x{tile.n}x{tile.k * BYTES[tile.element]}"


def blocks_of(tile: TensorTile) -> dict[int, int]:
    """How many blocks of the tile a multiprocessor is to hold, by the architectures that it runs on."""
    if tile.warpgroups:
        return {90: WARPGROUP_BLOCKS[tile.suffix.removesuffix("_bf16")]}
    return BLOCKS[_size(tile)]


def tensor_kernels() -> list[Kernel]:
    """The kernels of tensor cores."""
    return [kernel for kernel in KERNELS.values() if kernel.tiling and isinstance(kernel.tiling.tile, TensorTile)]


def jobs() -> list[tuple[Kernel, int]]:
    """Every such kernel, for each architecture that it runs on."""
    return [(kernel, each) for kernel in tensor_kernels() for each in blocks_of(tile_of(kernel))]


def compiled(kernel: Kernel, architecture: int, folder: Path = FOLDER) -> Row:
    """The kernel's main loop. Raises CompileError, and ValueError where there is none."""
    cubin, used, warnings = machine_code(kernel, architecture, folder)
    return Row(kernel, architecture, main_loop(disassembled(cubin)), used, warnings)


def measure(record: Record | None = None) -> list[Row]:
    """All of them: compiled, unless the record has them."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda job: (record and recorded(record, *job)) or compiled(*job), jobs()))


def recorded(record: Record, kernel: Kernel, architecture: int) -> Row | None:
    """The recorded main loop; None if it is of another kernel, or of another compiler, than today's."""
    found = record.find(_entry(kernel, architecture), fingerprint_of(kernel, architecture))
    if found is None:
        return None
    return Row(kernel, architecture, Loop.of(found["loop"]), Resources(*found["used"]), tuple(found["warnings"]))


def fingerprint_of(kernel: Kernel, architecture: int) -> str:
    """Of all that a main loop depends on."""
    return fingerprint([kernel], architecture, nvrtc_version(), readers=[Path(disassembly.__file__)])


def render_record(rows: Sequence[Row]) -> str:
    """The main loops as the record's text."""
    return rendered(
        {
            _entry(row.kernel, row.architecture): (
                fingerprint_of(row.kernel, row.architecture),
                {"used": dataclasses.astuple(row.used), "warnings": row.warnings, "loop": row.loop.counted},
            )
            for row in rows
        }
    )


def _entry(kernel: Kernel, architecture: int) -> str:
    return f"{kernel.name} sm_{architecture}"


def render(rows: Sequence[Row], version: tuple[int, int]) -> str:
    """The tables as Markdown; `rows_of` reads them back."""
    by_warps, by_warpgroups = ([row for row in rows if row.tile.warpgroups is kind] for kind in (False, True))
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
    for row in by_warps:
        lines.append(_line(row, ("HMMA", "LDSM", "LDGSTS"), f"{row.loop.fraction:.0%}"))
    lines += [
        "",
        *_WARPGROUPS.splitlines(),
        "",
        "| kernel | architecture | registers | loop | HGMMA | LDGSTS | issued | cycles | blocks |",
        "| --- | --- |" + " ---: |" * 6 + " --- |",
        *(_line(row, ("HGMMA", "LDGSTS"), f"{row.issued:.2f}") for row in by_warpgroups),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Row, counted: Sequence[str], measure: str) -> str:
    cells = [
        row.kernel.name,
        f"sm_{row.kernel.target or row.architecture}",
        *(str(number) for number in (row.used.registers, len(row.loop.instructions))),
        *(str(row.loop.counts[name]) for name in counted),
        measure,
        f"{row.cycles:.2f}",
        f"{row.fits.blocks}, {row.fits.limit}",
    ]
    return f"| {' | '.join(cells)} |"


def rows_of(text: str) -> dict[tuple[str, str], str]:
    """The rows of the rendered tables, by kernel and architecture."""
    rows = [line for line in text.splitlines() if line.startswith("| tensor_")]
    return {tuple(row.removeprefix("| ").split(" | ")[:2]): row for row in rows}  # type: ignore[misc]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 1 where a loop is not as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.main_loops",
        description="What the main loops of the tensor-core kernels consist of. Needs NVRTC and nvdisasm, but no GPU.",
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/main_loops.md")
    parser.add_argument(
        "--check", action="store_true", help="compile everything again; exit with 1 if that file or the record differs"
    )
    chosen = parser.parse_args(arguments)
    if disassembler() is None:
        print(f"error: nvdisasm is needed: {install_command('test')}", file=sys.stderr)
        return 2
    try:
        version, rows = nvrtc_version(), measure(None if chosen.check else Record(RECORD))
    except (NvrtcMissingError, CompileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    faults = [fault for row in rows for fault in row.faults()]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if chosen.check and (not RECORD.exists() or RECORD.read_text(encoding="utf-8") != render_record(rows)):
        print(f"error: {RECORD.name} is out of date; run python -m benchmarks.main_loops --write", file=sys.stderr)
        return 1
    if chosen.write:
        write_text(RECORD, render_record(rows))
    if chosen.write or chosen.check:
        return write_or_check(TABLE, render(rows, version), chosen.check) or int(bool(faults))
    print(render(rows, version))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
