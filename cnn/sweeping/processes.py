"""A job as a process of its own: `python -m cnn.train` in the job's folder, for launchers that run several at once.

Only text goes to that process and only files come back, so that it may run on another machine that sees the same
folders, nothing is pickled, and a crash costs one job. The folder is locked by the process that trains in it: a job
that another call has begun, and that is still running, is waited for and not run twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cnn.reporting.sweeps import ERROR
from foundation.errors import UserError
from foundation.files import write_text

LOG = "job.log"  # what the job prints
_THREADS = ("CNN_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")  # of the CPU engine, of BLAS
_SHOWN = 4000  # characters of the log in error.txt


@dataclass(frozen=True)
class ProcessJob:
    """What a process needs to run a job. All paths are absolute."""

    folder: str
    arguments: tuple[str, ...]  # of cnn.train
    cwd: str
    environment: Mapping[str, str] = field(default_factory=dict)


def run_process(job: ProcessJob, threads: int | None = None, cores: Sequence[int] = ()) -> int:
    """Run the job until it ends; its exit status, 0 for success.

    It starts `threads` threads, None for as many as it has cores, on `cores` if they are given. What it prints goes to
    `job.log`; if it fails, the end of that is also in `error.txt`.
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cnn.sweeping.job_process", str(folder), *job.arguments]
    with (folder / LOG).open("ab") as log, _on(cores):
        start = log.tell()
        # Its standard input stays open while this process lives: see `cnn.sweeping.parent`.
        with subprocess.Popen(
            command, cwd=job.cwd, env=_environment(job, threads), stdin=subprocess.PIPE, stdout=log,
            stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            status = process.wait()
    if status:
        with (folder / LOG).open("rb") as log:
            log.seek(start)
            printed = log.read().decode("utf-8", "replace")[-_SHOWN:]
        ended = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        write_text(folder / ERROR, f"{printed}\n{ended}\n")
    else:
        (folder / ERROR).unlink(missing_ok=True)
    return status


def last_line(folder: Path) -> str:
    """Why a job failed, in one line."""
    try:
        lines = [line.strip() for line in (folder / ERROR).read_text("utf-8").splitlines() if line.strip()]
    except OSError:
        return "it left no message"
    *before, ended = lines
    errors = [line for line in before if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else f"{before[-1]} ({ended})" if before else ended


def available(given: int | None, option: str) -> int:
    """The number of jobs at a time: that of `option`, or a job for each core. Raises `UserError` if it is below 1."""
    if given is not None and given < 1:
        raise UserError(f"{option} must be at least 1, not {given}")
    return given or len(_cores())


def shares(jobs: int) -> list[list[int]]:
    """The cores that this process may use, divided among that many jobs at a time; more jobs than cores share them."""
    known = _cores()
    if jobs > len(known):
        return [[known[place % len(known)]] for place in range(jobs)]
    return [known[len(known) * place // jobs : len(known) * (place + 1) // jobs] for place in range(jobs)]


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _environment(job: ProcessJob, threads: int | None) -> dict[str, str]:
    """The environment, so that the process imports this same code, and libraries start that many threads."""
    packages = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([packages, *filter(None, [os.environ.get("PYTHONPATH")])])
    counts = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
    return {**os.environ, **counts, **job.environment, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


@contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """Processes that are started in the block, by this thread, run on these cores, where the system can do that."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # of this thread alone; a child inherits it
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
