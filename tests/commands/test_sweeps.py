"""A sweep that is started again does what is left of it, and no folder holds the files of two jobs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import cnn.train
from cnn.reporting.metrics_csv import read_history
from cnn.reporting.sweeps import options_of
from cnn.sweeping.grid import combinations
from cnn.sweeping.jobs import Places
from cnn.training.loop import Trainer
from commands.small import QUICK
from foundation.errors import UserError
from foundation.files import locked
from training.states import without_times

FAST = (
    *(option for option in QUICK if not option.startswith("trainer.epochs")),
    "trainer.epochs=2",
    "baselines.logistic_regression_up_to=0",
)


def rows(folder):
    with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Place and time of every file, so that a file that was written again differs."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_jobs_that_are_done_are_not_done_again(command, workplace):
    first = command("cnn.train", "-m", *FAST, "seed=0,1", "hydra.sweep.dir=swept")
    assert first.status == 0, first.err
    before = state(workplace / "swept/0") | state(workplace / "swept/1")
    again = command("cnn.train", "-m", "seed=1,2", *reversed(FAST), "hydra.sweep.dir=swept")
    assert again.status == 0, again.err
    assert "1 of 2 jobs are done already" in again.out
    assert state(workplace / "swept/0") | state(workplace / "swept/1") == before
    (row,) = rows(workplace / "swept")
    assert (row["seeds"], row["failed"]) == ("3", "0")
    scores = [json.loads((workplace / f"swept/{job}/metrics.json").read_text())["seed"] for job in range(3)]
    assert scores == [0, 1, 2]
    third = command("cnn.train", "-m", *FAST, "seed=0,1,2", "hydra.sweep.dir=swept")
    assert third.status == 0
    assert "3 of 3 jobs are done already" in third.out
    assert "epoch" not in third.out


def test_the_leaderboard_is_printed_with_its_path_and_without_test_scores(command, workplace):
    outcome = command("cnn.train", "-m", *FAST, "seed=0,1", "hydra.sweep.dir=swept")
    *_, heading, line, path = outcome.out.splitlines()
    assert path == "leaderboard: swept/leaderboard.html"
    assert (workplace / "swept/leaderboard.html").is_file()
    assert "test" not in heading + line
    (row,) = rows(workplace / "swept")
    assert f"{float(row['val_accuracy_mean']):.4f} ± {float(row['val_accuracy_std']):.4f}" in line


def test_an_interrupted_job_goes_on_as_if_nothing_had_happened(command, workplace, monkeypatch):
    options = (*FAST, "trainer.epochs=3", "augment=flip_shift", "seed=0,1")
    assert command("cnn.train", "-m", *options, "hydra.sweep.dir=whole").status == 0
    validate, begun = Trainer._validate, []

    def interrupt(trainer, *arguments):
        begun.append((trainer.seed, trainer.epoch))
        if begun[-1] == (1, 2):
            raise KeyboardInterrupt
        return validate(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_validate", interrupt)
    broken = command("cnn.train", "-m", *options, "hydra.sweep.dir=broken")
    assert broken.status == 130
    assert "hydra.sweep.dir=broken does the rest" in broken.out
    assert [row["failed"] for row in rows(workplace / "broken")] == ["1"]
    before = state(workplace / "broken/0")
    record = (workplace / "broken/1/.hydra/overrides.yaml").read_text()
    monkeypatch.setattr(Trainer, "_validate", lambda *all: begun.append((all[0].seed, all[0].epoch)) or validate(*all))
    begun.clear()
    outcome = command("cnn.train", "-m", *options, "hydra.sweep.dir=broken")
    assert outcome.status == 0, outcome.err
    assert begun == [(1, 2)]  # the epoch that was lost, and no other
    assert state(workplace / "broken/0") == before
    assert (workplace / "broken/1/.hydra/overrides.yaml").read_text() == record
    for job in range(2):
        histories = [read_history(workplace / place / f"{job}/metrics.csv") for place in ("whole", "broken")]
        whole, gone_on = map(without_times, histories)
        assert whole == gone_on
    keys = ("seeds", "val_accuracy_mean", "val_accuracy_std", "test_accuracy_mean", "failed")
    ((whole,), (gone_on,)) = rows(workplace / "whole"), rows(workplace / "broken")
    assert [whole[key] for key in keys] == [gone_on[key] for key in keys]


def test_a_failed_job_is_tried_again(command, workplace, monkeypatch):
    run = cnn.train.run

    def fail(config, *others):
        if config.seed == 1:
            raise UserError("no luck")
        return run(config, *others)

    monkeypatch.setattr(cnn.train, "run", fail)
    outcome = command("cnn.train", "-m", *FAST, "seed=0,1", "hydra.sweep.dir=swept")
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1] == "error: no luck"
    assert "leaderboard: swept/leaderboard.html" in outcome.out
    monkeypatch.setattr(cnn.train, "run", run)
    assert command("cnn.train", "-m", *FAST, "seed=0,1", "hydra.sweep.dir=swept").status == 0
    (row,) = rows(workplace / "swept")
    assert (row["seeds"], row["failed"]) == ("2", "0")
    assert not (workplace / "swept/1/error.txt").exists()


@pytest.mark.parametrize("sweeper", ["grid", "basic"])
def test_a_failed_job_never_shows_the_scores_of_another(command, workplace, sweeper):
    """Hydra's own sweeper numbers from 0, so the second sweep meets the folder of the first."""
    sweep = ("-m", f"hydra/sweeper={sweeper}", *FAST, "merge.balance.method=class_weight", "hydra.sweep.dir=swept")
    assert command("cnn.train", *sweep, "trainer.class_weights=none").status == 0
    (before,) = rows(workplace / "swept")
    outcome = command("cnn.train", *sweep, "trainer.class_weights=balanced")
    assert outcome.status == 2
    failed = [row for row in rows(workplace / "swept") if row["trainer.class_weights"] == "balanced"]
    assert [(row["val_accuracy_mean"], row["test_accuracy_mean"], row["failed"]) for row in failed] == [("", "", "1")]
    if sweeper == "grid":
        assert before in rows(workplace / "swept")


def test_a_folder_that_does_not_differ_between_jobs_is_refused(command, workplace):
    options = ("-m", *FAST, "hydra.sweep.dir=swept", "hydra.sweep.subdir=one")
    assert "swept/one holds a job with other options" in command("cnn.train", *options, "seed=0,1").error
    assert not list((workplace / "swept").glob("*/metrics.json"))


def test_two_sweeps_in_one_folder_are_refused(command, workplace):
    with locked(workplace / "swept/.sweep.lock", lambda: None):
        error = command("cnn.train", "-m", *FAST, "seed=0,1", "hydra.sweep.dir=swept").error
    assert "another sweep is at work" in error


def test_an_interval_needs_a_search(command, workplace):
    error = command("cnn.train", "-m", *FAST, "optimizer.learning_rate=interval(0.1, 1)").error
    assert "hydra/sweeper=optuna" in error


# --- combinations and places -----------------------------------------------------------------------------------------


def parsed(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


def test_every_combination_in_hydras_order():
    found = combinations(parsed("a=1,2", "b.c=range(0,6,2)", "x=[4,8],[8,16]", "~gone", "+new='p q,r'"))
    assert len(found) == 2 * 3 * 2
    assert found[0] == ("a=1", "b.c=0", "x=[4,8]", "~gone", "+new='p q,r'")
    assert found[1] == ("a=1", "b.c=0", "x=[8,16]", "~gone", "+new='p q,r'")
    assert found[-1] == ("a=2", "b.c=4", "x=[8,16]", "~gone", "+new='p q,r'")
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["a=1", "b=2"], ["b=2", "a=1"], True),
        (["+a=1"], ["++a=1"], True),
        (["a='x y'"], ['a="x y"'], True),
        (["a=1", "resume=runs/x", "hydra.job.num=3"], ["a=1"], True),
        (["a=1"], ["a=2"], False),
        (["a=1"], ["a=1", "b=1"], False),
        (["~a"], ["a=1"], False),
        (["a=b=c"], ["a=b"], False),
    ],
)
def test_options_are_the_same_whatever_their_order_and_form(one, other, same):
    assert (options_of(one) == options_of(other)) is same


def record(folder: Path, *overrides: str) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text(json.dumps(list(overrides)))  # JSON is YAML
    return folder


def numbered(overrides, number):
    return str(number)


def test_a_job_keeps_its_folder_and_a_new_one_gets_a_free_number(tmp_path):
    record(tmp_path / "0", "a=1")
    record(tmp_path / "1", "a=2")
    (tmp_path / "2").mkdir()
    (tmp_path / "2/metrics.json").write_text("{}")  # of a run whose options cannot be read
    (tmp_path / "3/.hydra").mkdir(parents=True)  # a start that was killed before it recorded anything
    places = Places(tmp_path, numbered)
    assert places.place(["a=2"], 0).subdir == "1"
    assert places.place(["a=3"], 0).subdir == "3"
    assert places.place(["a=4"], 0).subdir == "4"
    assert places.place(["a=3"], 0).subdir == "3"


def test_damaged_records_cost_no_folder(tmp_path):
    for number, text in enumerate(["- [unclosed", "", "a: 1", "- {a: 1}", "\x00", "- a=1\n- 5\n"]):
        (tmp_path / str(number) / ".hydra").mkdir(parents=True)
        (tmp_path / str(number) / ".hydra/overrides.yaml").write_text(text)
        (tmp_path / str(number) / "checkpoint.last.safetensors").write_text("precious")
    places = Places(tmp_path, numbered)
    assert places.place(["a=1"], 0).subdir == "6"


def test_only_a_begun_job_goes_on_from_its_checkpoint(tmp_path):
    record(tmp_path / "it's, 0", "a=1")
    places = Places(tmp_path, numbered)
    job = places.place(["a=1"], 0)
    assert not any("resume" in argument for argument in job.arguments())
    (job.folder / "checkpoint.last.safetensors").touch()
    values = {override.key_or_group: override.value() for override in parsed(*job.arguments())}
    assert values["resume"] == str(job.folder)
    assert values["hydra.sweep.subdir"] == "it's, 0"
    (job.folder / "pruned.json").write_text("{}")
    assert job.done
    assert not any("resume" in argument for argument in job.arguments())


def test_a_job_killed_at_its_very_start_leaves_its_folder_free(tmp_path):
    """The locks of a process that could not remove them are no other job's files."""
    (tmp_path / "0").mkdir()
    for name in (".run.lock", ".job.lock", "job.log"):
        (tmp_path / "0" / name).write_text("")
    places = Places(tmp_path, lambda overrides, number: str(number))
    assert places.place(["seed=1"], 0).subdir == "0"
