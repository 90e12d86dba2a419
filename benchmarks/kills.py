"""`python -m benchmarks.kills --kills 200`: kills commands at random times; what is left, and how does it go on?

Each kind of work is done once without a kill. Then it is begun again and again and killed after a random time, by a
random one of SIGKILL, SIGTERM and SIGINT, until it ends by itself before its time is up. After each kill every file
that a kill may have cut is read; after the last run the files are compared with those of the run that nobody killed.
Counted are

- lost: the next run could not begin or go on, or an epoch that was in the checkpoint is not in the end;
- half: a file that cannot be read whole;
- differing: a file of the finished work that is not the one without kills, but for times;
- left: a temporary file or lock after the finished work, or a process of the killed command half a minute later.

The network is the smallest and the images few, so that most kills meet the writing of files. Commands of one process
are copies of this one, which has imported everything already.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnn.backends import get_ops
from cnn.reporting.metrics_csv import read_history
from cnn.training.checkpoint import load_checkpoint
from cnn.training.pack import load_pack
from foundation.errors import UserError

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
KINDS = ("train", "prepare", "sweep", "mpi")
FAULTS = ("lost", "half", "differing", "left")
_OPTIONS = (
    *("data=digits", "data.image_size=8", "data.audit=pixels", "merge.duplicates=pixels", "model=mlp", "augment=flip"),
    *("backend=numpy", "trainer.epochs=6", "trainer.batch_size=200", "baselines.logistic_regression_up_to=0"),
)
_TIMES = ("seconds", "images_per_second")
_VARYING = (  # names whose files say when and how fast
    *("report.html", "metrics.json", "curves.png", "job.log", "leaderboard.html", "leaderboard.csv", "leaderboard.png"),
    *("multirun.yaml", "hydra.yaml", "overrides.yaml", "config.yaml", "audit.html", "audit.json", "error.txt"),
    "train.log",
)
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}(\.\w+)?|.*\.lock")
_GONE = 30.0  # seconds after which no process of a killed command may be there, on a busy machine


@dataclass
class Work:
    """A kind of work: its command, and what it leaves."""

    kind: str
    command: Callable[[Path], list[str]]  # for the folder it works in, whether it has begun there or not
    result: str  # the file whose presence says that the work is finished
    victim: Callable[[int, random.Random], int] = lambda pid, luck: pid  # which process is killed
    forked: bool = False  # one Python process, whose imports are done already
    part: float = 1.0  # of the kills, beside the other kinds


@dataclass
class Outcome:
    """What came of the kills of one kind."""

    kills: Counter[str] = field(default_factory=Counter)  # by signal
    finished: int = 0
    seconds: float = math.inf  # that a whole run took, if one did
    faults: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def fault(self, kind: str, note: str) -> None:
        """Count a fault, and say it."""
        self.faults[kind] += 1
        self.notes.append(f"{kind}: {note}")
        print(f"  {kind}: {note}", flush=True)


def works() -> list[Work]:
    """The four kinds."""
    python = [sys.executable, "-m"]

    def run_or_resume(folder: Path, start: Sequence[str] = (), *extra: str) -> list[str]:
        begun = (folder / "run/checkpoint.last.safetensors").exists()
        own = ["resume=run"] if begun else [*_OPTIONS, *extra, "hydra.run.dir=run"]
        return [*start, *python, "cnn.train", *own]

    mpiexec = Path(sys.executable).with_name("mpiexec")
    found = [
        Work("train", run_or_resume, "run/metrics.json", forked=True, part=4.0),
        Work(
            "prepare",
            lambda folder: [*python, "data_tools.prepare", *_OPTIONS[:4], "data.pack_dir=packs"],
            "packs/*/pack.json",
            forked=True,
            part=3.0,
        ),
        Work(
            "sweep",
            lambda folder: [
                *(*python, "cnn.train", "-m", *_OPTIONS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
                *("seed=1,2", "hydra.sweep.dir=swept"),
            ],
            "swept/1/metrics.json",
        ),
    ]
    if mpiexec.exists():
        start = (str(mpiexec), "-n", "2")
        found.append(
            Work(
                "mpi", lambda folder: run_or_resume(folder, start, "trainer.distributed=mpi"), "run/metrics.json", _some
            )
        )
    return found


def _some(pid: int, luck: random.Random) -> int:
    """`mpiexec`, or one of the Python processes that it started."""
    return luck.choice([pid, *(each for each in below(pid) if "cnn.train" in command_of(each))])


def command_of(pid: int) -> list[str]:
    """The words of a process's command line; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def below(pid: int) -> list[int]:
    """The processes that `pid` started, and those that they started."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(path.parent.name), *below(int(path.parent.name))]
    return found


class Forked:
    """A command in a copy of this process, which has imported everything already: most of a short run's time."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path, log: int) -> None:
        main = importlib.import_module(module).main
        sys.stdout.flush()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            os.setsid()
            os.chdir(folder)
            for target in (1, 2):
                os.dup2(log, target)
            sys.argv = [module, *arguments]
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)

    def wait(self, timeout: float = 3600.0) -> int:
        """The exit status. Raises `subprocess.TimeoutExpired`."""
        deadline = time.monotonic() + timeout
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("the command", timeout)
            else:
                time.sleep(0.002)
        return self._status


def begin(work: Work, folder: Path) -> Forked | subprocess.Popen[str]:
    """Start the command in the folder, its output in a file."""
    with (folder / "printed.log").open("a") as log:
        command = work.command(folder)
        if work.forked:
            return Forked(command[2], command[3:], folder, log.fileno())
        return subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip


def kills_of(work: Work, reference: Path, seconds: float, folder: Path, luck: random.Random, most: int) -> Outcome:
    """Begin, kill, go on, until the work is finished or `most` kills are done, and finish it then."""
    outcome = Outcome()
    seen = 0
    while True:
        process, begun = begin(work, folder), time.monotonic()
        ended = None
        if sum(outcome.kills.values()) < most:
            try:
                ended = process.wait(luck.uniform(0.15, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                which, members = luck.choice(SIGNALS), [process.pid, *below(process.pid)]
                os.kill(work.victim(process.pid, luck), which)
                outcome.kills[which.name] += 1
                await_end(process, members, outcome)
        else:
            ended = process.wait(600)
        seen = max(seen, look(folder, outcome))
        if ended is None and work.kind in ("train", "mpi") and (folder / work.result).exists():
            ended = 0  # its last file was there: killed at the very end
            (folder / "run/.run.lock").unlink(missing_ok=True)
        if ended is not None:
            break
    if ended != 0:
        outcome.fault("lost", f"exit status {ended}: {last_line(folder)}")
        return outcome
    outcome.finished = 1
    if not outcome.kills:
        outcome.seconds = time.monotonic() - begun
    compare(reference, folder, outcome)
    return outcome


def await_end(process: Forked | subprocess.Popen[str], members: Sequence[int], outcome: Outcome) -> None:
    """Wait for the killed process and for those that it had started."""
    try:
        process.wait(_GONE)
        deadline = time.monotonic() + _GONE
        while (left := [pid for pid in members if alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
    except subprocess.TimeoutExpired:
        left = [process.pid]
    for pid in left:
        outcome.fault("left", f"process {pid} is there {_GONE:.0f} s after the kill")
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether the process runs: one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def last_line(folder: Path) -> str:
    """What the command printed last."""
    lines = (folder / "printed.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def look(folder: Path, outcome: Outcome) -> int:
    """Read every file that has its own name; the epochs of the last checkpoint, if there is one."""
    epochs = 0
    for path in files_of(folder):
        if _TEMPORARY.fullmatch(path.name) or any(
            part.startswith(".") and part != ".hydra" for part in path.parts[-3:-1]
        ):
            continue
        try:
            if path.suffix == ".safetensors":
                _, metadata = load_checkpoint(path)
                epochs = max(epochs, metadata.get("training", {}).get("epoch", 0))
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.name == "metrics.csv":
                rows = [row["epoch"] for row in read_history(path)]
                assert rows == list(range(1, len(rows) + 1)), rows
            elif path.name == "images.npy":
                load_pack(path.parent, get_ops("numpy"))
        except (UserError, ValueError, AssertionError) as error:
            outcome.fault("half", f"{path.relative_to(folder)}: {error}")
    return epochs


def files_of(folder: Path) -> Iterator[Path]:
    """The files of the work, in order."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "printed.log")


def compare(reference: Path, folder: Path, outcome: Outcome) -> None:
    """The finished work beside that without kills."""
    names = [{str(path.relative_to(top)) for path in files_of(top)} for top in (reference, folder)]
    for name in sorted(names[0] ^ names[1]):
        kind = "left" if name in names[1] else "lost"
        outcome.fault(kind, f"{name} is only {'here' if name in names[1] else 'in the run without kills'}")
    for name in sorted(names[0] & names[1]):
        one, other = reference / name, folder / name
        if content(one) != content(other):
            outcome.fault("differing", name)


def content(path: Path) -> Any:
    """What must be equal in a file: without times, and nothing of files that consist of them."""
    if path.name in _VARYING:
        return None
    if path.suffix == ".safetensors":
        tensors, metadata = load_checkpoint(path)
        for row in metadata.get("training", {}).get("history", []):
            for name in _TIMES:
                row.pop(name, None)
        return {name: tensor.tobytes() for name, tensor in tensors.items()}, metadata
    if path.name == "metrics.csv":
        return [{key: value for key, value in row.items() if key not in _TIMES} for row in read_history(path)]
    if path.name == "pack.json":
        return {**json.loads(path.read_text()), "origin": ""}
    return path.read_bytes()


def main() -> int:
    """Kill, and print the table; 1 if anything is lost, half, differing or left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no further work after this time")
    options = parser.parse_args()
    # A shell starts what goes on in the background with SIGINT ignored, which the commands would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for module in ("cnn.train", "data_tools.prepare", "matplotlib.pyplot"):
        importlib.import_module(module)
    luck, started = random.Random(options.seed), time.monotonic()
    chosen = [work for work in works() if work.kind in options.kinds]
    totals = {work.kind: Outcome() for work in chosen}
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        places: dict[str, tuple[Path, float]] = {}
        for work in chosen:
            folder = Path(temporary) / f"{work.kind}-whole"
            folder.mkdir()
            begun = time.monotonic()
            if begin(work, folder).wait() != 0:
                print(f"{work.kind} does not run without kills: {last_line(folder)}")
                return 2
            places[work.kind] = folder, time.monotonic() - begun
            print(f"{work.kind}: {places[work.kind][1]:.1f} s without kills", flush=True)
        number = 0
        while (done := sum(sum(total.kills.values()) for total in totals.values())) < options.kills:
            if time.monotonic() - started > 60 * options.minutes:
                break
            # Each kind in its turn: those of one process more often, because they take less time.
            work = min(chosen, key=lambda each: sum(totals[each.kind].kills.values()) / each.part)
            number += 1
            folder = Path(temporary) / f"{work.kind}-{number}"
            folder.mkdir()
            if work.kind != "prepare":  # which has kills of its own
                shutil.copytree(places[work.kind][0] / "packs", folder / "packs")
            reference, seconds = places[work.kind]  # the machine may be busier at one time than at another
            found = kills_of(work, reference, seconds, folder, luck, min(8, options.kills - done))
            places[work.kind] = reference, min(seconds, found.seconds)
            total = totals[work.kind]
            total.kills += found.kills
            total.finished += found.finished
            total.faults += found.faults
            total.notes += found.notes
            print(f"{work.kind}: {sum(found.kills.values())} kills, then finished", flush=True)
            if found.faults:
                shutil.copytree(folder, Path(tempfile.gettempdir()) / f"kills-faulty-{os.getpid()}-{number}")
            shutil.rmtree(folder)
    print_table(totals)
    return 1 if any(total.faults for total in totals.values()) else 0


def print_table(totals: dict[str, Outcome]) -> None:
    """A row for each kind."""
    print("\n| work | SIGKILL | SIGTERM | SIGINT | finished | " + " | ".join(FAULTS) + " |")
    print("| --- |" + " ---: |" * (4 + len(FAULTS)))
    for kind, total in totals.items():
        counts = [total.kills[each.name] for each in SIGNALS]
        faults = [total.faults[name] for name in FAULTS]
        print(f"| {kind} | " + " | ".join(map(str, [*counts, total.finished, *faults])) + " |")


if __name__ == "__main__":
    sys.exit(main())
