"""A search by Optuna: what it searches, what it stops, and that a kill at any time costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import cnn.train
from cnn.reporting.metrics_csv import read_history
from cnn.training.loop import Trainer
from commands.small import QUICK
from foundation.errors import UserError

optuna = pytest.importorskip("optuna", reason="Optuna (the extra `search`) is not installed")

from cnn.sweeping.space import space_of, text_of  # noqa: E402
from cnn.sweeping.study import JOURNAL, SearchSettings, open_study, sampler_of  # noqa: E402
from cnn.sweeping.trial import Pruned, Trial  # noqa: E402
from foundation.extras import install_command  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FAST = (
    *(option for option in QUICK if not option.startswith(("optimizer", "trainer.epochs"))),
    "trainer.epochs=2",
    "baselines.logistic_regression_up_to=0",
)
TWICE = "merge.balance.method=class_weight"  # and trainer.class_weights=balanced: refused when the data is there
RATE = "optimizer.learning_rate=tag(log, interval(1e-3, 1e-1))"


def search(*options: str, trials: int) -> tuple[str, ...]:
    return ("-m", "hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}", *FAST, "hydra.sweep.dir=s", *options)


def trials_in(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL)))
    return optuna.load_study(study_name=None, storage=storage).trials


def runs(monkeypatch) -> list[Path]:
    """The folders in which a run begins, from now on."""
    begun, run = [], cnn.train.run
    monkeypatch.setattr(
        cnn.train, "run", lambda config, folder, *others: begun.append(folder) or run(config, folder, *others)
    )
    return begun


# --- whole searches --------------------------------------------------------------------------------------------------


def test_the_value_of_a_trial_is_the_validation_accuracy_of_its_best_epoch(command, workplace):
    outcome = command("cnn.train", *search(RATE, "hydra.sweeper.pruner=none", trials=3))
    assert outcome.status == 0, outcome.err
    found = trials_in(workplace / "s")
    assert len(found) == 3
    test_scores = []

    def metrics_of(trial):
        return workplace / f"s/{trial.number}/metrics.json"

    for trial in found:
        metrics = json.loads(metrics_of(trial).read_text())
        assert trial.value == max(
            row["val_accuracy"] for row in read_history(metrics_of(trial).with_name("metrics.csv"))
        )
        test_scores.append(metrics["test_accuracy"])
        recorded = (workplace / f"s/{trial.number}/.hydra/config.yaml").read_text()
        assert f"learning_rate: {trial.params['optimizer.learning_rate']!r}" in recorded
        assert 1e-3 <= trial.params["optimizer.learning_rate"] <= 1e-1
    assert [trial.value for trial in found] != test_scores
    best = max(found, key=lambda trial: trial.value)
    assert f"best: trial {best.number}, validation accuracy {best.value:.4f}" in outcome.out
    assert "leaderboard: s/leaderboard.html" in outcome.out
    assert (workplace / "s/search.png").is_file()


def test_a_search_that_was_interrupted_ends_as_one_that_was_not(command, workplace, monkeypatch):
    """The same suggestions, the same runs, the same values: TPE learns from what was there before."""
    options = (RATE, "model=lenet,mlp", "hydra.sweeper.startup_trials=2", "hydra.sweeper.warmup_epochs=1")
    fast = tuple(option for option in FAST if not option.startswith("model"))
    whole = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", *fast, *options)
    assert command("cnn.train", *whole, "hydra.sweep.dir=whole").status == 0
    validate, count = Trainer._validate, iter(range(100))

    def interrupt(trainer, *arguments):
        if next(count) in (3, 7):
            raise KeyboardInterrupt
        return validate(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_validate", interrupt)
    statuses = [command("cnn.train", *whole, "hydra.sweep.dir=broken").status for _ in range(3)]
    assert statuses == [130, 130, 0]
    one, other = trials_in(workplace / "whole"), trials_in(workplace / "broken")
    assert [trial.params for trial in one] == [trial.params for trial in other]
    assert [(trial.state, trial.value) for trial in one] == [(trial.state, trial.value) for trial in other]
    assert [trial.intermediate_values for trial in one] == [trial.intermediate_values for trial in other]


@pytest.mark.slow
def test_a_search_of_twelve_trials_killed_twice_ends_with_twelve_and_repeats_none(tmp_path):
    options = (
        *("data.image_size=16", "data.audit=bytes", "merge.duplicates=bytes", "merge.balance.method=none"),
        *("augment=none", "model=lenet", "model.widths=[4,8]", "model.dense_widths=[16,16]", "trainer.epochs=2"),
        *(
            "trainer.batch_size=256",
            "baselines.logistic_regression_up_to=0",
            "report.images=false",
            "hydra.sweep.dir=s",
        ),
    )
    line = [
        sys.executable,
        "-m",
        "cnn.train",
        "-m",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=12",
        RATE,
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    logs, finished = [], {}
    for enough in (2, 7, None):
        with (tmp_path / "log").open("w+") as log:
            process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
            deadline = time.monotonic() + 240
            while process.poll() is None and time.monotonic() < deadline:
                done = list((tmp_path / "s").glob("*/metrics.json"))
                if enough is not None and len(done) >= enough:
                    break
                time.sleep(0.05)
            if enough is not None:
                assert process.poll() is None, (tmp_path / "log").read_text()
                process.send_signal(signal.SIGKILL)
            process.wait(timeout=60 if enough is None else 10)
            logs.append((tmp_path / "log").read_text())
        now = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("*/metrics.json")}
        assert finished.items() <= now.items()  # none of those was run again
        finished = now
    assert process.returncode == 0, logs[-1]
    found = trials_in(tmp_path / "s")
    assert [trial.number for trial in found] == list(range(12))
    assert all(trial.state in (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED) for trial in found)
    assert len({trial.params["optimizer.learning_rate"] for trial in found}) == 12
    ended = [*(tmp_path / "s").glob("*/metrics.json"), *(tmp_path / "s").glob("*/pruned.json")]
    assert sorted(int(path.parent.name) for path in ended) == list(range(12))
    assert "trials are done already" in logs[1]
    assert "trials are done already" in logs[2]
    assert f"12 trials: {len(finished)} finished" in logs[2]


def first_choices(seed: int, choices: tuple[str, ...]) -> list[str]:
    """What a random search with that seed tries first."""
    samplers = [sampler_of(SearchSettings(sampler="random", seed=seed), number) for number in range(2)]
    return [optuna.create_study(sampler=each).ask().suggest_categorical("x", choices) for each in samplers]


def test_a_trial_below_the_median_is_stopped_and_its_test_split_is_not_scored(command, workplace):
    rates = ("0.02", "1e-09")
    seed = next(seed for seed in range(100) if first_choices(seed, rates) == [*rates])
    options = ("optimizer.learning_rate=0.02,1e-9", "hydra.sweeper.startup_trials=1", "hydra.sweeper.warmup_epochs=0")
    more = ("hydra.sweeper.sampler=random", f"hydra.sweeper.seed={seed}", "trainer.epochs=8")
    outcome = command("cnn.train", *search(*options, *more, trials=2))
    assert outcome.status == 0, outcome.err
    good, bad = trials_in(workplace / "s")
    assert (good.state.name, bad.state.name) == ("COMPLETE", "PRUNED")
    folder = workplace / "s/1"
    record = json.loads((folder / "pruned.json").read_text())
    assert record == {"epoch": len(bad.intermediate_values), "val_accuracy": max(bad.intermediate_values.values())}
    assert record["epoch"] < 8
    assert not (folder / "metrics.json").exists()
    assert not (folder / "report.html").exists()
    assert "1 finished, 1 stopped early" in outcome.out
    assert f"stopped after epoch {record['epoch']}" in (workplace / "s/leaderboard.html").read_text()


def test_more_trials_may_be_asked_for_and_other_options_not(command, workplace, monkeypatch):
    assert command("cnn.train", *search(RATE, trials=1)).status == 0
    begun = runs(monkeypatch)
    outcome = command("cnn.train", *search(RATE, trials=2))
    assert outcome.status == 0, outcome.err
    assert "1 of 2 trials are done already" in outcome.out
    assert [folder.name for folder in begun] == ["1"]
    assert "other options (options)" in command("cnn.train", *search(RATE, "trainer.epochs=1", trials=3)).err
    other = RATE.replace("1e-1", "1")
    assert "other options (space)" in command("cnn.train", *search(other, trials=3)).err
    assert len(trials_in(workplace / "s")) == 2


def test_options_that_were_run_already_are_not_run_again(command, workplace, monkeypatch):
    begun = runs(monkeypatch)
    outcome = command("cnn.train", *search("optimizer.learning_rate=0.01,0.02", "hydra.sweeper.pruner=none", trials=5))
    assert outcome.status == 0, outcome.err
    assert len(begun) == 2
    found = trials_in(workplace / "s")
    assert len(found) == 5
    assert len({(trial.params["optimizer.learning_rate"], trial.value) for trial in found}) == 2


def test_a_search_in_which_all_fails_stops_with_the_reason(command, workplace):
    outcome = command("cnn.train", *search(RATE, TWICE, "trainer.class_weights=balanced", trials=9))
    assert outcome.status == 2
    assert "both weight the loss" in outcome.err.splitlines()[-1]
    assert len(trials_in(workplace / "s")) == 3


def test_a_failed_trial_costs_the_search_only_itself(command, workplace):
    outcome = command(
        "cnn.train", *search(TWICE, "trainer.class_weights=none,balanced", "hydra.sweeper.sampler=random", trials=4)
    )
    assert outcome.status == 0, outcome.err
    states = {trial.params["trainer.class_weights"]: trial.state.name for trial in trials_in(workplace / "s")}
    assert states == {"none": "COMPLETE", "balanced": "FAIL"}
    assert "both weight the loss" in outcome.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "needs an option to search over"),
        (("seed=0,1",), "luckiest"),
        ((RATE, "hydra.sweeper.sampler=best"), "hydra.sweeper.sampler is 'best'; choose tpe, random"),
        ((RATE, "hydra.sweeper.n_trails=3"), "did you mean 'hydra.sweeper.n_trials'?"),
        ((RATE, "hydra.sweeper.n_jobs=0"), "hydra.sweeper.n_jobs must be at least 1"),
        ((RATE, "hydra.sweeper.warmup_epochs=soon"), "hydra.sweeper.warmup_epochs must be a whole number"),
        (("optimizer.learning_rate=tag(log, interval(0, 1))",), "is no search space"),
        (("optimizer.learning_rate=interval(2, 1)",), "is no search space"),
    ],
)
def test_a_wrong_search_fails_before_any_work(command, workplace, options, words):
    assert words in command("cnn.train", *search(*options, trials=2)).error
    assert not (workplace / "packs").exists()


def test_without_optuna_a_line_says_what_to_install(command, workplace, monkeypatch):
    class Missing:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == "optuna":
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    for name in [name for name in sys.modules if name.partition(".")[0] == "optuna"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    assert install_command("search") in command("cnn.train", *search(RATE, trials=2)).error


# --- the space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "kind", "low", "high", "step", "log"),
    [
        ("a=interval(0, 5)", float, 0, 5, None, False),
        ("a=int(interval(0, 5))", int, 0, 5, 1, False),
        ("a=tag(log, interval(1e-4, 1e-2))", float, 1e-4, 1e-2, None, True),
        ("a=range(1, 6, 2)", int, 1, 5, 2, False),
        ("a=range(0, 6, 2)", int, 0, 4, 2, False),
        ("a=range(10, 0, -3)", int, 1, 10, 3, False),
        ("a=range(0.5, 1.0, 0.25)", float, 0.5, 0.75, 0.25, False),
        ("a=tag(log, range(1, 65))", int, 1, 64, 1, True),
    ],
)
def test_numbers_are_searched_in_their_interval(override, kind, low, high, step, log):
    space, shared = space_of(OverridesParser.create().parse_overrides([override, "b=1"]))
    found = space["a"]
    assert isinstance(found, optuna.distributions.IntDistribution) is (kind is int)
    assert (found.low, found.high, found.log) == (low, high, log)
    assert found.step == step
    assert shared == ["b=1"]


@pytest.mark.parametrize(
    ("override", "choices"),
    [
        ("model=lenet,vgg_small", ("lenet", "vgg_small")),
        ("model.widths=[4,8],[8,16]", ("[4,8]", "[8,16]")),
        ("data.root='a b,c',d", ("'a b,c'", "d")),
        ("a=choice(1, x)", ("1", "x")),
        ("a=range(3, 4)", ("3",)),
    ],
)
def test_other_values_are_choices_as_an_override_has_them(override, choices):
    (found,) = space_of(OverridesParser.create().parse_overrides([override]))[0].values()
    assert found.choices == choices


@pytest.mark.parametrize("value", [0.1, 1e-5, 1 / 3, 5e-324, 1e300, 7, "[4,8]"])
def test_a_suggested_value_is_the_value_that_the_run_gets(value):
    read = OverridesParser.create().parse_override(f"a={text_of(value)}").value()
    assert read == (value if not isinstance(value, str) else [4, 8])


# --- the study -------------------------------------------------------------------------------------------------------


def test_a_half_written_line_of_the_journal_is_dropped(tmp_path):
    settings = SearchSettings(n_trials=3)
    study = open_study(tmp_path, settings, {"space": "x"})
    study.ask().suggest_float("x", 0, 1)
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code": 4, "worker_')
    again = open_study(tmp_path, settings, {"space": "x"})
    again.ask().suggest_float("x", 0, 1)
    assert [trial.number for trial in trials_in(tmp_path)] == [0, 1]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_trial_has_a_seed_of_its_own(sampler):
    def first(seed, number):
        study = optuna.create_study(sampler=sampler_of(SearchSettings(sampler=sampler, seed=seed), number))
        return study.ask().suggest_float("x", 0, 1)

    drawn = [first(seed, number) for seed in range(3) for number in range(20)]
    assert len(set(drawn)) == len(drawn)
    assert drawn == [first(seed, number) for seed in range(3) for number in range(20)]


CURVES = [
    [0.2, 0.4, 0.6, 0.7],
    [0.3, 0.5, 0.5, 0.8],
    [0.1, 0.2, 0.3, 0.3],
]  # medians of the best so far: 0.2, 0.4, 0.5, 0.7


@pytest.mark.parametrize(
    ("curve", "warmup", "stops"),
    [
        ([0.25, 0.45, 0.55, 0.75], 0, None),
        ([0.15, 0.5, 0.6, 0.8], 0, 1),
        ([0.15, 0.5, 0.6, 0.8], 1, None),
        ([0.25, 0.3, 0.3, 0.3], 0, 2),
        ([0.45, 0.1, 0.45, 0.9], 0, 3),  # its best epoch counts, not its last
    ],
)
def test_the_median_rule(tmp_path, curve, warmup, stops):
    study = open_study(tmp_path, SearchSettings(startup_trials=3, warmup_epochs=warmup), {})
    for values in CURVES:
        trial = study.ask()
        for epoch, value in enumerate(values):
            trial.report(value, epoch)
        study.tell(trial, max(values))
    number = study.ask().number
    stopped = None
    for epoch, value in enumerate(curve, start=1):
        try:
            # A new object each time, as after an interruption, and each epoch reported twice.
            for _ in range(2):
                Trial(tmp_path / JOURNAL, number).report({"epoch": epoch, "val_accuracy": value})
        except Pruned:
            stopped = epoch
            break
    assert stopped == stops
    reported = trials_in(tmp_path)[number].intermediate_values
    assert reported == dict(enumerate(curve[: stopped or len(curve)]))


@pytest.mark.parametrize(
    ("curve", "warmup", "stops"),
    [
        ([0.6] * 10, 2, None),
        ([0.6, 0.6, 0.4, 0.9], 2, 3),  # less than the first trial at the first rung
        ([0.1, 0.1, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.9], 2, 9),
        ([0.1, 0.4, 0.9], 0, 2),
    ],
)
def test_the_halving_rule(tmp_path, curve, warmup, stops):
    study = open_study(tmp_path, SearchSettings(pruner="halving", warmup_epochs=warmup), {})
    for values, expected in (([0.5] * 10, None), (curve, stops)):
        number, stopped = study.ask().number, None
        for epoch, value in enumerate(values, start=1):
            try:
                Trial(tmp_path / JOURNAL, number).report({"epoch": epoch, "val_accuracy": value})
            except Pruned:
                stopped = epoch
                break
        assert stopped == expected


def test_wrong_settings_name_their_option():
    with pytest.raises(UserError, match=r"hydra\.sweeper\.pruner is 'half'"):
        SearchSettings(pruner="half")
