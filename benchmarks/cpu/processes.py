"""The parent process: it runs worker processes on the same cores in turns, so that noise affects both sides equally."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cpu.cells import Cell
from cnn.backends.cpu.workers import available_cores
from foundation.errors import UserError

OURS = "ours"
EARLIER = "earlier"  # our engine of another checkout
_HERE = Path(__file__).resolve().parents[2]
_THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_TURN_SECONDS, _MOST_RUNS = 0.3, 200  # a turn repeats a short run for about this time, and at most this often
_PAUSE = 0.01  # seconds between turns, in which the other side's threads stop spinning
BREAKDOWN_SECONDS = 2.0  # of each side, in each turn of a breakdown, at most


class Process:
    """A worker process, limited to the cell's number of threads and cores."""

    def __init__(self, side: str, cell: Cell, folder: Path = _HERE) -> None:
        """`folder` is the checkout whose worker runs."""
        self.side = side
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        environment = {**os.environ, **dict.fromkeys(_THREAD_LIMITS, str(cell.threads))}
        # Until 2026-11-26 the worker was at another path, with the same requests.
        module = "benchmarks.cpu.worker" if (folder / "benchmarks/cpu/worker.py").exists() else "benchmarks.cpu_worker"
        command = [sys.executable, "-m", module, OURS if side == EARLIER else side, json.dumps(asdict(cell))]
        begin = time.perf_counter()
        with _on_cores(cell.threads):  # a child inherits the cores of its parent
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment,
                cwd=folder,
            )
        self.about = self.ask("about")
        self.import_seconds = time.perf_counter() - begin

    def ask(self, request: str, **arguments: Any) -> Any:
        """The worker's answer. Raises `UserError` if it failed or ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"ask": request, **arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise UserError(f"{self.side} ended with status {self._process.wait()}: {said[-1] if said else 'silently'}")
        reply = json.loads(line)
        if "error" in reply:
            raise UserError(f"{self.side}: {reply['error']}")
        return reply["answer"]

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


@contextmanager
def processes(sides: Sequence[str], cell: Cell, earlier: Path = _HERE) -> Iterator[dict[str, Process]]:
    """One process per side, started in sequence and ended with the block; `earlier` is the checkout of that side."""
    with ExitStack() as stack:
        started: dict[str, Process] = {}
        for side in sides:
            started[side] = Process(side, cell, earlier if side == EARLIER else _HERE)
            stack.callback(started[side].close)
        yield started


def check_threads(threads: int) -> None:
    """Raise `UserError` for more threads than there are cores."""
    if not 1 <= threads <= (cores := available_cores()):
        raise UserError(f"--threads is {threads}, but this process may use {cores} cores: more would share a core")


def time_sides(workers: Mapping[str, Process], kind: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Medians, all rounds and the memory of each side, for `kind`, train or infer. Every round runs each side once."""
    found: dict[str, dict[str, Any]] = {}
    times: dict[str, int] = {}
    for side, worker in workers.items():
        worker.ask("build", kind=kind)
        warm = worker.ask("warm_up")
        times[side] = max(1, min(_MOST_RUNS, round(_TURN_SECONDS / max(warm["seconds"], 1e-9))))
        found[side] = {
            "import_seconds": worker.import_seconds,
            "first_seconds": warm["first_seconds"],
            "runs_in_a_turn": times[side],
            "peak_bytes": warm["peak_bytes"],
            "seconds": [],
        }
    for side in _turns(list(workers), rounds):
        found[side]["seconds"].append(workers[side].ask("turn", times=times[side]))
    for side, worker in workers.items():
        row, memory = found[side], worker.ask("memory")
        row["median_ms"] = 1e3 * median(row["seconds"])
        row["steady_peak_bytes"], row["library_bytes"] = memory["steady_peak_bytes"], memory["library_bytes"]
        row["memory_counts_from_building_on"] = memory["from_building_on"]
        peaks = [peak for peak in (row["peak_bytes"], row["steady_peak_bytes"]) if peak is not None]
        row["peak_bytes"] = max(peaks) if peaks else None
        row["data_peak_bytes"] = row["peak_bytes"] and row["peak_bytes"] - (row["library_bytes"] or 0)
    return found


def time_layers(
    workers: Mapping[str, Process], timed: Mapping[str, Mapping[str, Any]], rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of each layer's forward and backward pass for each side, the medians of all steps."""
    steps: dict[str, list[dict[str, list[float]]]] = {side: [] for side in workers}
    for side in _turns(list(workers), rounds):
        times = max(1, min(5, int(1e3 * BREAKDOWN_SECONDS / timed[side]["median_ms"])))
        steps[side] += workers[side].ask("layers", times=times)
    return {
        side: {
            name: {
                direction: 1e3 * median(step[name][index] for step in each)
                for index, direction in enumerate(("forward", "backward"))
            }
            for name in each[0]
        }
        for side, each in steps.items()
    }


def _turns(sides: Sequence[str], rounds: int) -> Iterator[str]:
    """Every side once per round, each round beginning with another side, with a pause before each."""
    for number in range(rounds):
        start = number % len(sides)
        for side in (*sides[start:], *sides[:start]):
            time.sleep(_PAUSE)
            yield side


@contextmanager
def _on_cores(count: int) -> Iterator[None]:
    """Run on the last `count` of the cores that this process may use, if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
