"""`python -m benchmarks.kernel_resources`: registers, shared memory, spills and occupancy of every kernel.

Compiles with NVRTC for every supported architecture; no GPU is needed. What was compiled before is taken from its
record, unless `--check` compiles all of it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.kernels.compiled import RECORDS, Record, fingerprint, rendered
from benchmarks.kernels.occupancy import Occupancy, occupancy
from benchmarks.records import TABLES
from cnn.kernels import KERNELS, Kernel, kernels_of, source_names
from cnn.kernels.nvrtc import (
    ARCHITECTURES,
    Compiled,
    CompileError,
    NvrtcMissingError,
    Resources,
    compile_file,
    nvrtc_version,
)
from foundation.files import write_text

TABLE = TABLES / "kernel_resources.md"
RECORD = RECORDS / "kernel_resources.json"
OCCUPANCY_OF = 90  # the architecture whose occupancy the written table shows

ByArchitecture = Mapping[int, Resources]


def measure(sources: Iterable[str], record: Record | None = None) -> list[Compiled]:
    """The kernel files for every architecture: compiled, unless the record has them."""
    jobs = [(source, architecture) for source in sources for architecture in ARCHITECTURES]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda job: (record and recorded(record, *job)) or compile_file(*job), jobs))


def recorded(record: Record, source: str, architecture: int) -> Compiled | None:
    """The recorded result for a kernel file; None if it is of other kernels, or of another compiler, than today's."""
    found = record.find(_entry(source, architecture), fingerprint_of(source, architecture))
    if found is None:
        return None
    kernels = {name: Resources(*numbers) for name, numbers in found["kernels"].items()}
    return Compiled(source, architecture, found["cubin_bytes"], kernels, tuple(found["warnings"]))


def fingerprint_of(source: str, architecture: int) -> str:
    """Of all that a kernel file's result depends on."""
    return fingerprint(kernels_of(source, architecture), architecture, nvrtc_version())


def render_record(compiled: Iterable[Compiled]) -> str:
    """The results as the record's text."""
    return rendered(
        {
            _entry(one.source, one.architecture): (
                fingerprint_of(one.source, one.architecture),
                {
                    "cubin_bytes": one.cubin_bytes,
                    "warnings": one.warnings,
                    "kernels": {name: dataclasses.astuple(each) for name, each in one.kernels.items()},
                },
            )
            for one in compiled
        }
    )


def _entry(source: str, architecture: int) -> str:
    return f"{source} sm_{architecture}"


def by_kernel(compiled: Iterable[Compiled]) -> dict[str, ByArchitecture]:
    """The resources by kernel and architecture, in the order of the kernel table."""
    found: dict[str, dict[int, Resources]] = {}
    for one in compiled:
        for name, resources in one.kernels.items():
            found.setdefault(name, {})[one.architecture] = resources
    return {name: found[name] for name in KERNELS if name in found}


def occupancy_of(kernel: Kernel, architecture: int, resources: Resources) -> Occupancy:
    """How many of the kernel's threads a multiprocessor holds; none where a block's shared memory is too much."""
    return occupancy(architecture, prod(kernel.block), resources.registers, shared_of(kernel, resources))


def shared_of(kernel: Kernel, resources: Resources) -> int:
    """Shared memory of a block: static, and dynamic where it is the same in every launch."""
    return resources.shared + (0 if callable(kernel.shared_bytes) else kernel.shared_bytes)


def render(measured: Mapping[str, ByArchitecture], version: tuple[int, int]) -> str:
    """The table as Markdown; `rows_of` reads it back."""
    registers = " | ".join(f"sm_{architecture}" for architecture in ARCHITECTURES)
    lines = [
        "# Resources of the kernels on a GPU",
        "",
        "Written by `python -m benchmarks.kernel_resources --write`; a test compares it with the kernels.",
        "",
        f"The columns sm_75 to sm_120 are registers of a thread, as NVRTC {version[0]}.{version[1]} compiles for that "
        "architecture, a dash where",
        "the kernel wants a newer one. Shared memory (of a block) and spills (stores and loads of a thread) are in",
        "bytes, the most of any architecture.",
        f"Occupancy is the fraction of a multiprocessor's threads that can be resident on sm_{OCCUPANCY_OF}, and what "
        "bounds it.",
        "",
        f"| kernel | block | {registers} | shared | spills | occupancy |",
        f"| --- | --- |{' ---: |' * len(ARCHITECTURES)} ---: | ---: | --- |",
    ]
    for name, resources in measured.items():
        kernel = KERNELS[name]
        fits = occupancy_of(kernel, OCCUPANCY_OF, resources[OCCUPANCY_OF])
        cells = [
            name,
            " × ".join(map(str, kernel.block)),
            *(str(resources[each].registers) if each in resources else "-" for each in ARCHITECTURES),
            str(max(shared_of(kernel, each) for each in resources.values())),
            str(max(each.spills for each in resources.values())),
            _occupancy(fits),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rows_of(text: str) -> dict[str, str]:
    """The rows of a rendered table, by kernel."""
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


def _occupancy(fits: Occupancy) -> str:
    percent = f"{100 * fits.fraction:.0f} %"
    return percent if fits.fraction >= 1 else f"{percent}, {fits.limit}"


def overview(measured: Mapping[str, ByArchitecture]) -> Table:
    """One row per kernel: registers and occupancy by architecture."""
    table = Table(title="registers of a thread, occupancy", title_justify="left")
    table.add_column("kernel", no_wrap=True)
    table.add_column("block", justify="right", no_wrap=True)
    for architecture in ARCHITECTURES:
        table.add_column(f"sm_{architecture}", justify="right", no_wrap=True)
    table.add_column("shared", justify="right")
    table.add_column("spills", justify="right")
    for name, resources in measured.items():
        cells = []
        for architecture in ARCHITECTURES:
            if each := resources.get(architecture):
                fits = occupancy_of(KERNELS[name], architecture, each)
                cells.append(f"{each.registers} {100 * fits.fraction:3.0f}%")
            else:
                cells.append("-")
        spills = max(each.spills for each in resources.values())
        table.add_row(
            name,
            str(prod(KERNELS[name].block)),
            *cells,
            f"{max(shared_of(KERNELS[name], each) for each in resources.values()):,}",
            f"[bold red]{spills:,}[/]" if spills else "0",
        )
    return table


def details(name: str, by_architecture: ByArchitecture) -> Table:
    """One row per architecture, for one kernel."""
    kernel = KERNELS[name]
    block = " × ".join(map(str, kernel.block))
    table = Table(title=f"{name} ({kernel.source}), blocks of {block} threads", title_justify="left")
    table.add_column("architecture")
    for column in ("registers", "shared", "stack", "spilled", "filled", "blocks", "threads", "occupancy"):
        table.add_column(column, justify="right")
    table.add_column("bounded by")
    for architecture, each in by_architecture.items():
        fits = occupancy_of(kernel, architecture, each)
        table.add_row(
            f"sm_{architecture}",
            str(each.registers),
            *(f"{size:,}" for size in (shared_of(kernel, each), each.stack, each.spill_stores, each.spill_loads)),
            str(fits.blocks),
            f"{fits.threads:,}",
            f"{100 * fits.fraction:.0f} %",
            fits.limit,
        )
    return table


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernel_resources",
        description="Resources of the CUDA kernels on a GPU: compiles them with NVRTC for "
        f"{', '.join(f'sm_{each}' for each in ARCHITECTURES)} and prints registers, shared memory, spills and "
        "occupancy. Needs no GPU, but the wheels of the extra `kernels`.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--kernel", metavar="NAME", help="one kernel of the table in detail, such as add")
    what.add_argument("--source", metavar="FILE", help="the kernels of one file, such as elementwise.cu")
    what.add_argument("--write", action="store_true", help=f"write the table of all kernels to {_relative(TABLE)}")
    what.add_argument(
        "--check",
        action="store_true",
        help="compile everything again; exit with 1, and name the kernels, if the table or the record differs",
    )
    chosen = parser.parse_args(arguments)
    if chosen.kernel and chosen.kernel not in KERNELS:
        parser.error(f"there is no kernel '{chosen.kernel}'; the kernels are: {', '.join(KERNELS)}")
    if chosen.source and chosen.source not in source_names():
        parser.error(f"there is no kernel file '{chosen.source}'; the files are: {', '.join(source_names())}")
    return chosen


def _relative(path: Path) -> Path:
    return path.relative_to(path.parents[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    chosen = _arguments(arguments)
    sources = source_names()
    if chosen.kernel or chosen.source:
        sources = [chosen.source or KERNELS[chosen.kernel].source]
    try:
        version = nvrtc_version()
        compiled = measure(sources, None if chosen.check else Record(RECORD))
    except (NvrtcMissingError, CompileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    measured = by_kernel(compiled)
    if chosen.check:
        return _check(render(measured, version), render_record(compiled))
    if chosen.write:
        write_text(TABLE, render(measured, version))
        write_text(RECORD, render_record(compiled))
        print(f"{_relative(TABLE)}: {len(measured)} kernels")
        return 0
    # In a file or a pipe the table is not wrapped.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(details(chosen.kernel, measured[chosen.kernel]) if chosen.kernel else overview(measured))
    return 0


def _check(table: str, record: str) -> int:
    present, kept = (path.read_text(encoding="utf-8") if path.exists() else "" for path in (TABLE, RECORD))
    if (present, kept) == (table, record):
        print(f"{_relative(TABLE)} is up to date")
        return 0
    before, now = rows_of(present), rows_of(table)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    print(
        f"error: {_relative(TABLE)} is out of date ({', '.join(changed) or 'its heading or its record'}); "
        "run python -m benchmarks.kernel_resources --write",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
