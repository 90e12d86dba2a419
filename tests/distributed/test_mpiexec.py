"""`mpiexec -n N python -m cnn.train`: real processes, and MPI between them."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnn.reporting.metrics_csv import read_history
from cnn.training.checkpoint import load_checkpoint
from commands.small import QUICK, write_faces

ROOT = Path(__file__).resolve().parents[2]
MPIEXEC = Path(sys.executable).with_name("mpiexec")
OPTIONS = (
    *QUICK, "trainer.distributed=mpi", "augment=flip_shift", "baselines.logistic_regression_up_to=0",
    "trainer.epochs=4",  # of six steps
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
    reason="mpi4py or mpiexec (the extra `mpi`) is not installed",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a small data set, and a finished run of one process in `one`."""
    pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    folder = tmp_path_factory.mktemp("mpi")
    write_faces(folder / "data" / "fer2013")
    outcome = train(folder, 0, *OPTIONS, "hydra.run.dir=one", "trainer.distributed=none")
    assert outcome.returncode == 0, outcome.stderr
    return folder


def command(processes: int, *arguments: str) -> list[str]:
    start = [str(MPIEXEC), "-n", str(processes)] if processes else []
    return [*start, sys.executable, "-m", "cnn.train", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def train(folder: Path, processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(processes, *arguments), cwd=folder, env=environment(), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_checkpoint(run / "checkpoint.last.safetensors")[0]


def test_two_and_four_processes_are_one_run(place):
    one = weights(place / "one")
    norm = np.linalg.norm(flat(one))
    for processes in (2, 4):
        run = place / str(processes)
        outcome = train(place, processes, *OPTIONS, f"hydra.run.dir={run.name}")
        assert outcome.returncode == 0, outcome.stderr
        assert outcome.stdout.count("epoch   1") == 1
        assert {path.name for path in run.iterdir()} == {path.name for path in (place / "one").iterdir()}
        assert np.linalg.norm(flat(weights(run)) - flat(one)) < 1e-5 * norm
        scores = [json.loads((path / "metrics.json").read_text()) for path in (place / "one", run)]
        assert scores[1]["val_accuracy"] == pytest.approx(scores[0]["val_accuracy"], abs=0.04)  # one image of 28
        assert [row["epoch"] for row in read_history(run / "metrics.csv")] == [1, 2, 3, 4]


def test_a_repetition_is_the_same_bit_for_bit(place):
    runs = []
    for name in ("a", "b"):
        outcome = train(place, 3, *OPTIONS, f"hydra.run.dir={name}")
        assert outcome.returncode == 0, outcome.stderr
        runs.append(weights(place / name))
    assert flat(runs[0]).tobytes() == flat(runs[1]).tobytes()


def flat(held: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([held[name].ravel() for name in sorted(held)])


def test_a_killed_process_ends_all_and_another_number_goes_on(place):
    """Here the run of three processes goes on with two, and with one."""
    out = place / "killed"
    with subprocess.Popen(
        command(3, *OPTIONS, "hydra.run.dir=killed", "trainer.epochs=400"), cwd=place, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as running:  # fmt: skip
        deadline = time.monotonic() + 200
        while not (out / "metrics.csv").exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        ranks = {rank_of(pid): pid for pid in children(running.pid) if rank_of(pid) is not None}
        assert set(ranks) == {0, 1, 2}
        os.kill(ranks[1], signal.SIGKILL)
        running.communicate(timeout=60)
    assert running.returncode != 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())
    _, metadata = load_checkpoint(out / "checkpoint.last.safetensors")
    done = metadata["training"]["epoch"]
    assert 1 <= done < 400
    ended = train(place, 2, "resume=killed", "trainer.max_minutes=0.0001", "trainer.distributed=mpi")
    assert "another trainer.max_minutes" in ended.stderr
    with subprocess.Popen(
        command(2, "resume=killed"), cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        said = ""
        while f"epoch {done + 2:3d}" not in said and (line := running.stdout.readline()):
            said += line
        assert f"resumed after epoch {done}" in said, said
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    assert [row["epoch"] for row in read_history(out / "metrics.csv")][: done + 2] == list(range(1, done + 3))


def children(parent: int) -> list[int]:
    """All processes below `parent`."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def rank_of(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    ranks = [int(line.partition(b"=")[2]) for line in lines if line.startswith(b"PMI_RANK=")]
    return ranks[0] if ranks else None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["trainer.distributed=none"], "trainer.distributed is none: give trainer.distributed=mpi"),
        (["-m", "seed=1,2"], "run a sweep without it"),
    ],
)
def test_an_error_is_one_line_and_ends_all(place, arguments, error):
    given = [each for each in OPTIONS if each.partition("=")[0] not in {one.partition("=")[0] for one in arguments}]
    outcome = train(place, 2, *given, *arguments)
    assert outcome.returncode == 2
    lines = [line for line in outcome.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1, outcome.stderr
    assert error in lines[0]
    assert "Traceback" not in outcome.stderr
