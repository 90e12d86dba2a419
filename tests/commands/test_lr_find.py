from __future__ import annotations

import csv

import pytest
from PIL import Image

from commands.small import QUICK
from foundation.config import config_dir


def test_lr_find_plots_the_loss_and_suggests_a_rate(command, workplace):
    outcome = command("cnn.lr_find", *QUICK, "steps=40", "highest=10", "csv=rates.csv")
    assert outcome.status == 0, outcome.err
    with (workplace / "rates.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert 10 < len(rows) <= 40
    lowest = min(rows[10:], key=lambda row: row["smoothed_loss"])["learning_rate"]
    assert f"optimizer.learning_rate={lowest / 10:.2g} " in outcome.out
    with Image.open(workplace / "lr_find.png") as plot:
        assert plot.width > 600
    assert not list(workplace.rglob("*.safetensors"))


def test_lr_find_begins_where_the_run_will(command, workplace):
    """With the weights of a run and most of them frozen, the loss of its first step is that of a trained network."""
    assert command("cnn.train", *QUICK, "hydra.run.dir=first").status == 0

    def first_loss(*options: str) -> float:
        outcome = command("cnn.lr_find", *QUICK, "steps=20", "csv=rates.csv", *options)
        assert outcome.status == 0, outcome.err
        with (workplace / "rates.csv").open() as file:
            return float(next(csv.DictReader(file))["loss"])

    fresh = first_loss()
    assert first_loss("start_from=first", "freeze=features") < fresh
    assert first_loss("distil.teacher=[first]") == fresh  # which the teacher's part is not in
    assert "start_from=RUN" in command("cnn.lr_find", *QUICK, "freeze=features").error
    assert "distil.weight" in command("cnn.lr_find", *QUICK, "distil.teacher=[first]", "distil.weight=2").error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lowest=1", "highest=0.1"], ["lowest=1", "highest=0.1"]),
        (["steps=5"], ["steps", "20", "5"]),
        (["steps=many"], ["steps", "many"]),
        (["smoothing=1.5"], ["smoothing", "1.5"]),
        (["trainer.batch_size=0"], ["trainer.batch_size", "0"]),
    ],
)
def test_lr_find_says_what_is_wrong_in_one_line(command, workplace, arguments, words):
    error = command("cnn.lr_find", *QUICK, *arguments).error
    assert all(word in error for word in words), error
    assert not (workplace / "lr_find.png").exists()


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml")))
def test_lr_find_takes_every_experiment(command, workplace, experiment):
    outcome = command("cnn.lr_find", f"experiment={experiment}", "steps=1", "backend=cpu")
    assert "steps must be at least" in outcome.error  # which is looked at after all options
