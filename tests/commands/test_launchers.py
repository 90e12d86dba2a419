"""Each launcher gives the leaderboard of Hydra's basic one, also for a job that fails."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from cnn.sweeping.cluster import RequeuedJob
from cnn.sweeping.processes import ProcessJob, available, last_line, run_process, shares
from cnn.training.checkpoint import load_checkpoint
from commands.small import QUICK
from foundation.errors import UserError
from foundation.extras import install_command
from foundation.files import in_use, locked

ROOT = Path(__file__).resolve().parents[2]
FAST = (
    *(option for option in QUICK if not option.startswith("trainer.epochs")),
    "trainer.epochs=2",
    "baselines.logistic_regression_up_to=0",
    "report.images=false",
)
TIMES = ("seconds_mean", "images_per_second_mean")
OPTIONS = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    "submitit": ("hydra.launcher.cluster=local", "hydra.launcher.at_once=2", "hydra.launcher.poll=0.1"),
    "ray": ("hydra.launcher.init.num_cpus=2",),
}
LAUNCHERS = [
    pytest.param(
        name,
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(find_spec(name) is None, reason=f"the extra `{name}` is not installed"),
        ],
    )
    for name in OPTIONS
]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def train(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cnn.train", *options], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_gives_the_leaderboard_of_the_basic_one(command, workplace, launcher):
    sweep = (
        "-m",
        *FAST,
        "trainer.epochs=5",  # after which the seeds have different scores
        "merge.balance.method=class_weight",
        "seed=0,1",
        "trainer.class_weights=none,balanced",  # the second fails: jobs 1 and 3
        "augment=flip_shift",
    )
    done = train(workplace, *sweep, f"hydra/launcher={launcher}", *OPTIONS[launcher], "hydra.sweep.dir=parallel")
    assert done.returncode == 2, done.stderr
    assert "both weight the loss" in done.stderr.splitlines()[-1]
    assert "leaderboard: parallel/leaderboard.html" in done.stdout
    logs = [(workplace / f"parallel/{job}/job.log").read_text() for job in range(4)]
    assert [("using the pack" in log) for log in logs].count(False) == 1  # one of them has prepared it
    assert "both weight the loss" in (workplace / "parallel/1/error.txt").read_text()
    metrics = json.loads((workplace / "parallel/0/metrics.json").read_text())
    assert f"{max(1, len(os.sched_getaffinity(0)) // 2)} threads" in metrics["provenance"]["backend"]

    assert command("cnn.train", *sweep, "hydra.sweep.dir=basic").status == 2
    scored, failed = table(workplace / "basic")
    assert (scored["seeds"], float(scored["val_accuracy_std"]) > 0, failed["failed"]) == ("2", True, "2")
    assert table(workplace / "parallel") == [scored, failed]
    # What is done by one launcher is done for the others.
    again = command("cnn.train", *sweep, "hydra.sweep.dir=parallel")
    assert "2 of 4 jobs are done already" in again.out


@pytest.mark.slow
@pytest.mark.skipif(find_spec("optuna") is None, reason="the extra `search` is not installed")
def test_a_search_runs_several_trials_at_a_time(workplace):
    options = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra/launcher=joblib")
    fast = tuple(option for option in FAST if not option.startswith("optimizer"))
    done = train(workplace, "-m", *options, *fast, "optimizer.learning_rate=interval(0.01,0.02)", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stderr
    assert "4 trials: " in done.stdout
    ended = [*(workplace / "s").glob("*/metrics.json"), *(workplace / "s").glob("*/pruned.json")]
    assert sorted(path.parent.name for path in ended) == ["0", "1", "2", "3"]
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    storage = JournalStorage(JournalFileBackend(str(workplace / "s/study.journal")))
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    assert all(len(trial.intermediate_values) == 2 for trial in trials if trial.state.name == "COMPLETE")


@pytest.mark.parametrize("launcher", [name for name in OPTIONS if name != "joblib"])
def test_without_its_package_a_launcher_says_what_to_install(command, workplace, monkeypatch, launcher):
    class Missing:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == launcher:
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    for name in [name for name in sys.modules if name.partition(".")[0] == launcher]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    error = command("cnn.train", "-m", *FAST, "seed=0,1", f"hydra/launcher={launcher}").error
    assert install_command(launcher) in error


def test_a_job_that_slurm_takes_away_is_submitted_again(tmp_path):
    pytest.importorskip("submitit", reason="the extra `submitit` is not installed")
    again = RequeuedJob().checkpoint(job(tmp_path / "0", "seed=1"), 2)
    assert isinstance(again.function, RequeuedJob)
    assert (again.args, again.kwargs) == ((job(tmp_path / "0", "seed=1"), 2), {})


def test_a_wrong_number_of_jobs_is_named(command, workplace):
    options = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "seed=0,1")
    assert "hydra.launcher.n_jobs must be at least 1" in command("cnn.train", "-m", *FAST, *options).error


# --- one process -----------------------------------------------------------------------------------------------------


def job(folder: Path, *arguments: str) -> ProcessJob:
    return ProcessJob(str(folder), arguments, str(folder.parent))


def test_cores_are_divided_and_none_is_idle(monkeypatch):
    for cores in (1, 2, 3, 5, 8):
        own = {10 + core for core in range(cores)}
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, own=own: own, raising=False)
        for jobs in range(1, cores + 1):
            parts = shares(jobs)
            assert sorted(core for part in parts for core in part) == [10 + core for core in range(cores)]
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert [len(part) for part in shares(cores + 2)] == [1] * (cores + 2)
        assert available(None, "n_jobs") == cores
    with pytest.raises(UserError, match="n_jobs must be at least 1"):
        available(-1, "n_jobs")


def test_a_job_that_is_killed_leaves_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho begun\nkill -KILL $$\n")
    (tmp_path / "python").chmod(0o755)
    assert run_process(job(tmp_path / "job")) == -9
    assert last_line(tmp_path / "job") == "begun (killed by signal 9)"


def test_a_bad_option_is_the_last_line_of_its_job(tmp_path):
    assert run_process(job(tmp_path / "a job, 1", "trainer.epochs=ten")) == 2
    assert last_line(tmp_path / "a job, 1") == "trainer.epochs must be a whole number, not 'ten'"


def test_a_job_that_another_process_runs_is_waited_for_and_not_run_twice(workplace):
    folder = workplace / "swept" / "0"
    folder.mkdir(parents=True)
    statuses = []
    with locked(folder / ".job.lock", lambda: None):
        waiting = threading.Thread(target=lambda: statuses.append(run_process(job(folder, *FAST))))
        waiting.start()
        deadline = time.monotonic() + 60
        while (
            not (folder / "job.log").exists() or "waiting for another process" not in (folder / "job.log").read_text()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (folder / "metrics.json").write_text('{"val_accuracy": 0.5}')  # the other process has ended
    waiting.join()
    assert statuses == [0]
    assert sorted(path.name for path in folder.iterdir()) == ["job.log", "metrics.json"]


def test_jobs_end_with_the_process_that_started_them(workplace):
    """Killed, it can tell them nothing: they notice that it is gone."""
    folder = workplace / "swept" / "0"
    arguments = (*FAST, "trainer.epochs=10000")
    script = (
        "from cnn.sweeping.processes import ProcessJob, run_process\n"
        f"run_process(ProcessJob({str(folder)!r}, {arguments!r}, {str(workplace)!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (folder / "metrics.csv").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert in_use(folder / ".job.lock")
    parent.kill()
    parent.wait()
    while in_use(folder / ".job.lock"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "the process that started this job has ended" in (folder / "job.log").read_text()
    assert "resume=" in (folder / "job.log").read_text()
    assert load_checkpoint(folder / "checkpoint.last.safetensors")[1]["training"]["epoch"] >= 1


def test_a_sweep_into_the_folder_of_a_run_is_refused(command, workplace):
    (workplace / "out").mkdir()
    (workplace / "out" / "metrics.json").write_text("{}")
    assert "out holds a run" in command("cnn.train", "-m", *FAST, "seed=1,2", "hydra.sweep.dir=out").error
    assert sorted(path.name for path in (workplace / "out").iterdir()) == ["metrics.json"]
