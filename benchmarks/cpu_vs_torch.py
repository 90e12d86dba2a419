"""`python -m benchmarks.cpu_vs_torch`: training steps and inference on a CPU, ours and PyTorch's.

Needs PyTorch (the extra `bench`). First checks that both compute the same, then times them in turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cpu.cells import Cell
from benchmarks.cpu.plots import draw_breakdown, draw_sweep, merged
from benchmarks.cpu.processes import EARLIER, OURS, Process, check_threads, processes, time_layers, time_sides
from benchmarks.records import finite
from benchmarks.torch_comparison import TOLERANCE, checked_batch, largest
from benchmarks.torch_reference import LAYOUTS
from cnn.backends.cpu.workers import available_cores
from cnn.reporting.provenance import collect_provenance
from foundation.errors import UserError
from foundation.extras import install_command
from foundation.files import write_json

MODELS, BATCHES, THREADS = ("baseline", "resnet9", "vgg_small"), (1, 16, 64, 256), (1, 2)
ROUNDS, QUICK_ROUNDS = 7, 3
KINDS = ("train", "infer")
# Odd sizes between the round ones, because a slow case could be between powers of two.
SWEEPS: dict[str, tuple[float, ...]] = {
    "batch": (1, 2, 3, 4, 8, 16, 17, 32, 48, 64, 100, 128, 256, 512),
    "width": (0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4),
    "side": (24, 30, 36, 48, 61, 64, 96, 128, 160, 192),
}
SWEEP_BATCH = 16  # of the sweeps over width and side
METHOD = (
    "Each side runs in separate processes: ours, PyTorch with contiguous images, PyTorch with channels last; three "
    "processes for training, three for inference. All are bound to the same cores, as many as threads, and run in "
    "turns; a round runs each once, beginning with another each time. A turn's figure is the mean of its runs, a "
    "cell's the median of the rounds. A training step is forward, loss, backward, Adam's update; ours is that of the "
    "loop and also gathers its images "
    "(PyTorch: eager, ReLUs in place, fused Adam, l2 as weight decay); inference is eager forward under "
    "inference_mode. Memory (`peak`) is the peak of resident bytes (VmHWM) from building the network on, with warm-up, "
    "minus those resident after the imports; `steady_peak` is without warm-up, `data_peak` without library code loaded "
    "meanwhile. PyTorch's best is the lower figure of its two formats, for each figure separately."
)


class DifferenceError(UserError):
    """The two sides do not compute the same, so nothing is timed."""


class Bench:
    """Measures cells; each network and batch is checked once."""

    def __init__(self, rounds: int, say: Callable[[str], None] = lambda _: None, against: Path | None = None) -> None:
        """`against` is another checkout, whose engine is timed in the same rounds."""
        self.rounds, self.say, self.against = rounds, say, against
        self.metadata: dict[str, Any] = {}
        self._checked: dict[Cell, dict[str, Any]] = {}

    def check(self, cell: Cell) -> dict[str, Any]:
        """The differences between the two sides. Raises `DifferenceError` if one is over the tolerance.

        Results do not depend on the number of threads, which a test of the backend checks, so this uses all cores.
        """
        every = Cell(cell.model, cell.batch, available_cores(), cell.side, cell.width)
        if every not in self._checked:
            batch = checked_batch(cell.batch)
            with processes(["check"], every) as workers:
                found = workers["check"].ask("check", batch=batch)
            number, what = largest(found)
            self._checked[every] = {"batch": batch, "largest": number, "where": what, "differences": found}
            self.say(f"{cell.model}, batch {cell.batch}: largest difference {number:.1e} ({what})")
        checked = self._checked[every]
        if not checked["largest"] <= TOLERANCE:  # NaN is refused, too
            raise DifferenceError(
                f"{cell.model}, batch {cell.batch}: the two do not compute the same, nothing is timed: "
                f"{checked['where']} differs by {checked['largest']:.1e} of its norm, more than {TOLERANCE:g}"
            )
        return checked

    def cell(self, cell: Cell, kinds: Sequence[str] = KINDS, breakdown: bool = False) -> dict[str, Any]:
        """The measurements of the cell, in types of JSON."""
        check_threads(cell.threads)
        found: dict[str, Any] = {**vars(cell), "rounds": self.rounds, "check": self.check(cell)}
        found["load_before"] = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
        earlier = [EARLIER] if self.against else []
        sides: dict[str, dict[str, Any]] = {side: {} for side in (OURS, *LAYOUTS, *earlier)}
        for kind in kinds:
            with processes(list(sides), cell, self.against or Path()) as workers:
                self._remember(workers)
                timed = time_sides(workers, kind, self.rounds)
                for side, row in timed.items():
                    sides[side][kind] = row
                if breakdown and kind == "train":
                    found["layers"] = time_layers(workers, timed, self.rounds)
            self.say(f"{cell.model}, batch {cell.batch}, {cell.threads} threads: {kind} {_in_short(sides, kind)}")
        found |= summary(sides)
        return found | {side: sides.pop(side) for side in (OURS, *earlier)} | {"torch": sides}

    def _remember(self, workers: Mapping[str, Process]) -> None:
        for side, worker in workers.items():
            self.metadata.setdefault("workers", {})[side] = worker.about


def summary(sides: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Ratios of ours to the better of PyTorch's memory formats, and their medians."""
    found: dict[str, Any] = {}
    for kind in sides[OURS]:
        best = min(LAYOUTS, key=lambda layout: sides[layout][kind]["median_ms"])
        ours, theirs = sides[OURS][kind]["median_ms"], sides[best][kind]["median_ms"]
        found |= {
            f"{kind}_ratio": ours / theirs,
            f"ours_{kind}_ms": ours,
            f"torch_{kind}_ms": theirs,
            f"torch_{kind}_layout": best,
        }
        if EARLIER in sides:
            before = sides[EARLIER][kind]
            found |= {f"earlier_{kind}_ms": before["median_ms"], f"earlier_{kind}_ratio": ours / before["median_ms"]}
            found[f"earlier_{kind}_peak_bytes"] = before["peak_bytes"]
        for name, key in (("peak", ""), ("steady_peak", "steady_"), ("data_peak", "data_")):
            peaks = [sides[layout][kind][f"{name}_bytes"] for layout in LAYOUTS]
            mine, lowest = sides[OURS][kind][f"{name}_bytes"], None if None in peaks else min(peaks)
            found[f"ours_{kind}_{name}_bytes"], found[f"torch_{kind}_{name}_bytes"] = mine, lowest
            prefix = key if kind == "train" else f"{key}{kind}_"
            found[f"{prefix}memory_ratio"] = mine / lowest if mine and lowest and lowest > 0 else None
    return found


def _in_short(sides: Mapping[str, Mapping[str, Mapping[str, Any]]], kind: str) -> str:
    return ", ".join(f"{side} {each[kind]['median_ms']:.2f} ms" for side, each in sides.items())


# --- tables ----------------------------------------------------------------------------------------------------------


def overview(cells: Sequence[Mapping[str, Any]]) -> Table:
    """The cells as a table for the terminal."""
    table = Table(title="Medians in ms, peak memory in MB; ratios are ours over PyTorch's best", title_justify="left")
    for name in ("model", "batch", "threads"):
        table.add_column(name, justify="left" if name == "model" else "right")
    earlier = any("earlier_train_ms" in cell for cell in cells)
    for kind in KINDS:
        for name in (f"{kind}: ours", "PyTorch", "format", "ratio", "MB ours", "PyTorch", "ratio"):
            table.add_column(name, justify="left" if name == "format" else "right", no_wrap=True)
        for name in ("earlier", "ours over it") if earlier else ():
            table.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        row = [str(cell["model"]), str(cell["batch"]), str(cell["threads"])]
        if "error" in cell:
            table.add_row(*row, "failed")
            continue
        for kind in KINDS:
            row += _figures(cell, kind)
            if earlier:
                figures = (cell.get(f"earlier_{kind}_ms"), cell.get(f"earlier_{kind}_ratio"))
                row += ["" if each is None else f"{each:.2f}" for each in figures]
        table.add_row(*row)
    return table


def _figures(cell: Mapping[str, Any], kind: str) -> list[str]:
    if f"{kind}_ratio" not in cell:
        return [""] * 7
    memory = cell["memory_ratio" if kind == "train" else f"{kind}_memory_ratio"]
    megabytes = [cell[f"{side}_{kind}_peak_bytes"] for side in ("ours", "torch")]
    return [
        f"{cell[f'ours_{kind}_ms']:.2f}",
        f"{cell[f'torch_{kind}_ms']:.2f}",
        cell[f"torch_{kind}_layout"].replace("_", " "),
        f"{cell[f'{kind}_ratio']:.2f}",
        *("?" if each is None else f"{each / 1e6:,.0f}" for each in megabytes),
        "?" if memory is None else f"{memory:.2f}",
    ]


def breakdown_table(cell: Mapping[str, Any]) -> Table:
    """The time of the training step by layer."""
    layout = cell["torch_train_layout"]
    title = f"{cell['model']}, batch {cell['batch']}, {cell['threads']} threads: ms of a training step"
    table = Table(title=title, title_justify="left")
    table.add_column("layer")
    for name in ("forward: ours", "PyTorch", "ratio", "backward: ours", "PyTorch", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = merged(cell["layers"][OURS], cell["layers"][layout])
    sums = [[sum(row[side][direction] for row in rows.values()) for direction in (0, 1)] for side in (0, 1)]
    together = ((sums[0][0], sums[0][1]), (sums[1][0], sums[1][1]))
    for name, (ours, theirs) in {**rows, "together": together}.items():
        cells = []
        for mine, other in zip(ours, theirs, strict=True):
            cells += [f"{mine:.3f}", f"{other:.3f}", f"{mine / other:.2f}" if other > 0 else ""]
        table.add_row(name, *cells)
    return table


# --- the command -----------------------------------------------------------------------------------------------------


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu_vs_torch",
        description="Times training steps and inference on this CPU, ours beside PyTorch's, after checking that both "
        "compute the same. Without --model, --batch and --threads it measures the whole grid.",
        epilog="Exit status: 0; 1 if the two do not compute the same, or a cell of several failed; 2 for bad "
        "arguments, a single cell that failed, or without PyTorch.",
    )
    parser.add_argument("--model", nargs="+", metavar="NAME", help=f"of conf/model ({' '.join(MODELS)})")
    parser.add_argument("--batch", nargs="+", type=int, metavar="IMAGES", help=f"({' '.join(map(str, BATCHES))})")
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help=f"({' '.join(map(str, THREADS))})")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"of which the median counts ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds; batches 1 and 16, short sweeps")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, timed in the same rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--breakdown", type=Path, metavar="PNG", help="one cell: draw the step layer by layer")
    parser.add_argument("--sweep", choices=sorted(SWEEPS), help="step time against batch, width or image side")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="of the sweep (its JSON's name, .png)")
    chosen = parser.parse_args(arguments)
    chosen.rounds = chosen.rounds or (QUICK_ROUNDS if chosen.quick else ROUNDS)
    if chosen.rounds < 1 or min(chosen.batch or [1]) < 1:
        parser.error("rounds and batches are at least 1")
    if chosen.sweep:
        chosen.model = chosen.model or ["baseline"]
        chosen.threads = chosen.threads or [min(2, available_cores())]
        chosen.plot = chosen.plot or (chosen.json and chosen.json.with_suffix(".png"))
        if chosen.breakdown or not chosen.plot or (chosen.sweep == "batch" and chosen.batch):
            parser.error("--sweep needs --json or --plot, no --breakdown, and over batches no --batch")
        if len(chosen.model) * len(chosen.threads) * len(chosen.batch or [1]) > 1:
            parser.error("--sweep goes over one thing: one model, one number of threads, one batch")
    elif chosen.plot:
        parser.error("--plot is of a --sweep")
    if chosen.against and not (chosen.against / "benchmarks").is_dir():
        parser.error(f"--against {chosen.against}: there is no checkout of this project in that folder")
    chosen.cells = _cells(chosen)
    if chosen.breakdown and len(chosen.cells) > 1:
        parser.error("--breakdown is of one cell: give --model, --batch and --threads")
    return chosen


def _cells(chosen: argparse.Namespace) -> list[Cell]:
    """The cells to measure."""
    if chosen.sweep:
        points = SWEEPS[chosen.sweep][:3] if chosen.quick else SWEEPS[chosen.sweep]
        base = {"model": chosen.model[0], "batch": (chosen.batch or [SWEEP_BATCH])[0], "threads": chosen.threads[0]}
        return [Cell(**{**base, chosen.sweep: point if chosen.sweep == "width" else int(point)}) for point in points]
    batches = chosen.batch or (BATCHES[:2] if chosen.quick else BATCHES)
    threads = chosen.threads or [number for number in THREADS if number <= available_cores()]
    return [Cell(*each) for each in itertools.product(chosen.model or MODELS, batches, threads)]


def run(chosen: argparse.Namespace, command: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all cells; the JSON is written after each, so that an interrupted run has the finished cells.

    A cell that cannot be measured has its error in its place; if it is the only cell, the error is raised.
    """
    for cell in chosen.cells:  # so that a wrong name or number fails at the beginning
        cell.config()
        check_threads(cell.threads)
    bench = Bench(chosen.rounds, say, chosen.against)
    metadata = {"command": command, "method": METHOD, "provenance": collect_provenance()}
    found: list[dict[str, Any]] = []
    record: dict[str, Any] = {}
    for cell in chosen.cells:
        try:
            found.append(bench.cell(cell, KINDS[:1] if chosen.sweep else KINDS, breakdown=bool(chosen.breakdown)))
        except UserError as error:
            if len(chosen.cells) == 1:
                raise
            found.append({**vars(cell), "error": str(error), "refused": isinstance(error, DifferenceError)})
            say(f"error: {error}")
        record = {**(found[0] if len(chosen.cells) == 1 else {}), **metadata, **bench.metadata, "cells": found}
        if chosen.sweep:
            record["sweep"] = chosen.sweep
        if chosen.json:
            write_json(chosen.json, finite(record))
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    chosen = _arguments(arguments)
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if importlib.util.find_spec("torch") is None:
            raise UserError(f"PyTorch is not installed here: {install_command('bench')}")
        command = " ".join(["python -m benchmarks.cpu_vs_torch", *given])
        record = run(chosen, command, lambda line: print(line, file=sys.stderr, flush=True))
        # In a file or a pipe the table is not wrapped.
        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(overview(record["cells"]))
        if chosen.breakdown:
            console.print(breakdown_table(record))
            draw_breakdown(chosen.breakdown, record)
        for cell in record["cells"]:
            if "error" in cell:
                console.print(f"batch {cell['batch']}, {cell['threads']} threads: {cell['error']}", markup=False)
        if chosen.sweep:
            draw_sweep(chosen.plot, chosen.sweep, record["cells"])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DifferenceError) else 2
    return 1 if any("error" in cell for cell in record["cells"]) else 0


if __name__ == "__main__":
    sys.exit(main())
