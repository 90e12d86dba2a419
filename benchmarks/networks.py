"""`python -m benchmarks.networks`: size and speed on a CPU of every network in conf/model, as one table."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from benchmarks.cpu.cells import Cell
from benchmarks.records import TABLES
from benchmarks.workload import Workload
from cnn.backends import get_ops
from cnn.backends.cpu.workers import available_cores
from cnn.models import InferenceModel
from cnn.models.summary import summary_rows
from cnn.reporting.provenance import collect_provenance
from foundation.config import config_dir
from foundation.errors import UserError
from foundation.files import write_text

TABLE = TABLES / "networks.md"
SIDE, BATCH = 48, 64
HEADINGS = ("network", "parameters", "MFLOPs", "training, images/s", "inference, images/s")


@dataclass(frozen=True)
class Row:
    """What is known of a network; the rates are None where nothing was timed."""

    name: str
    parameters: int
    mflops: float
    training: float | None = None
    inference: float | None = None


def shipped() -> list[str]:
    """The names of the files in conf/model."""
    return sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))


def sizes(name: str) -> Row:
    """Parameters and operations of a network for grey images of 48 x 48 pixels. Raises `UserError` for no such name."""
    model = Cell(name, 1, 1, SIDE).build(get_ops("numpy"))
    return Row(name, model.parameter_count, sum(row["mflops"] for row in summary_rows(model)))


def measure(name: str, batch: int, threads: int, rounds: int, least: float) -> Row:
    """The sizes, and the images per second of training steps and of inference, each of the fastest of `rounds`.

    A round lasts at least `least` seconds. The fastest one depends least on what else the machine does.
    """
    cell, size = Cell(name, batch, threads, SIDE), sizes(name)
    model = cell.build(get_ops("cpu", threads))
    work = Workload(cell.options(), model, *cell.data(), batch)
    training = batch / min(_seconds(work, rounds, least))
    images = work.network_input(cell.data()[0])
    network = InferenceModel(model)
    del model, work
    inference = batch / min(_seconds(lambda: network.forward(images), rounds, least))
    return Row(name, size.parameters, size.mflops, training, inference)


def _seconds(run: Callable[[], Any], rounds: int, least: float) -> list[float]:
    """The mean seconds of a call in each round; the first calls compile and warm up, and are not counted."""
    run()
    run()
    found = []
    for _ in range(rounds):
        begin, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - begin < least:
            run()
            count += 1
        found.append((time.perf_counter() - begin) / count)
    return found


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, the smallest network first."""
    lines = [f"| {' | '.join(HEADINGS)} |", "| --- |" + " ---: |" * (len(HEADINGS) - 1)]
    for row in sorted(rows, key=lambda row: row.parameters):
        rates = ("" if rate is None else f"{rate:,.0f}" for rate in (row.training, row.inference))
        lines.append(f"| `{row.name}` | {row.parameters:,} | {row.mflops:,.1f} | {' | '.join(rates)} |")
    return "\n".join(lines)


def page(rows: Sequence[Row], chosen: argparse.Namespace, provenance: dict[str, Any]) -> str:
    """The page docs/benchmarks/networks.md."""
    machine, versions = provenance["machine"], provenance["versions"]
    cpu, revision = machine["cpu"] or "an unknown processor", (provenance["git"] or {}).get("revision", "unknown")
    made_with = f"Python {versions['python']}, NumPy {versions['numpy']}, Numba {metadata.version('numba')}"
    load = f"{os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else "unknown"
    when = f"{provenance['started'][:10]}, revision {revision[:7]}"
    return f"""# The networks of conf/model

Written by `python -m benchmarks.networks --write`. For grey images of {SIDE}x{SIDE} pixels and 7 classes:
parameters and running statistics; millions of floating-point operations of one image's forward pass, where a
multiply-accumulate is two; images per second of training steps (gather, forward, loss, backward, Adam) and of inference
(batch norms folded into weights), in float32 on the CPU engine, in batches of {chosen.batch} with {chosen.threads}
threads: the fastest of {chosen.rounds} rounds.

Measured on {cpu}, {machine["cores"]} cores; {made_with};
{when}; load average {load}. With a load above the number of cores others computed, too, and rates are too low: compare
those of one table.

{table(rows)}

The comment at the top of a file in [conf/model](../../conf/model) says what the network is and where it comes from.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--model", nargs="+", metavar="NAME", help="of conf/model (all)")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="IMAGES", help=f"({BATCH})")
    parser.add_argument("--threads", type=int, default=min(2, available_cores()), metavar="N", help="(two)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of which the fastest counts (5)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of a round at least (1)")
    parser.add_argument("--sizes", action="store_true", help="parameters and operations alone, without measuring")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/networks.md")
    chosen = parser.parse_args(arguments)
    if min(chosen.batch, chosen.threads, chosen.rounds) < 1:
        parser.error("--batch, --threads and --rounds are at least 1")
    if chosen.write and (chosen.model or chosen.sizes):
        parser.error("--write is of all networks, measured: not with --model or --sizes")
    try:
        rows = []
        for name in chosen.model or shipped():
            if chosen.sizes:
                rows.append(sizes(name))
            else:
                rows.append(measure(name, chosen.batch, chosen.threads, chosen.rounds, chosen.seconds))
                print(f"{name}: {rows[-1].training:,.0f} and {rows[-1].inference:,.0f} images/s", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    if chosen.write:
        write_text(TABLE, page(rows, chosen, collect_provenance()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
