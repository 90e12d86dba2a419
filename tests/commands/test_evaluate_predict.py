from __future__ import annotations

import csv
import json
import shutil

import pytest

from commands.small import QUICK


@pytest.fixture
def finished(command, workplace):
    """The working directory of a finished run in `out`."""
    assert command("cnn.train", *QUICK, "trainer.epochs=6", "hydra.run.dir=out").status == 0
    return workplace


def test_evaluate_scores_validation_unless_asked_for_test(command, finished):
    metrics = json.loads((finished / "out/metrics.json").read_text())
    assert "validation" in command("cnn.evaluate", "run=out").out
    validation = json.loads((finished / "out/evaluation_validation.json").read_text())
    assert validation["accuracy"] == pytest.approx(metrics["val_accuracy"])
    assert not (finished / "out/evaluation_test.json").exists()
    command("cnn.evaluate", "run=out", "split=test")
    test = json.loads((finished / "out/evaluation_test.json").read_text())
    assert test["accuracy"] == pytest.approx(metrics["test_accuracy"])
    assert test["macro_f1"] == pytest.approx(metrics["macro_f1"])


def test_evaluate_takes_the_pack_of_the_run_and_refuses_another(command, finished):
    (pack,) = (finished / "packs").iterdir()
    (finished / "data/fer2013/test/sad/00.png").unlink()
    assert command("cnn.evaluate", "run=out").status == 0  # with the pack that is there, whatever became of the data
    assert (
        command(
            "data_tools.prepare", "data=fer2013", "data.image_size=12", "data.audit=pixels", "merge.duplicates=pixels"
        ).status
        == 0
    )
    assert command("cnn.evaluate", "run=out").status == 0
    shutil.rmtree(pack)
    assert "no longer the one" in command("cnn.evaluate", "run=out").error


def test_evaluate_takes_a_pack_that_has_moved(command, finished):
    (pack,) = (finished / "packs").iterdir()
    shutil.move(pack, finished / "elsewhere")
    shutil.rmtree(finished / "data")
    assert command("cnn.evaluate", "run=out", "pack=elsewhere").status == 0


def test_predict_agrees_with_evaluate(command, finished):
    command("cnn.evaluate", "run=out", "split=test")
    scores = json.loads((finished / "out/evaluation_test.json").read_text())
    right = total = 0
    for folder in sorted((finished / "data/fer2013/test").iterdir()):
        assert command("cnn.predict", "run=out", f"images={folder}", "csv=table.csv").status == 0
        with (finished / "table.csv").open() as file:
            for row in csv.DictReader(file):
                total += 1
                right += row["prediction"] == folder.name
                probabilities = [float(row[name]) for name in scores["classes"]]
                assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert right / total == pytest.approx(scores["accuracy"])


def test_predict_sets_unreadable_files_aside(command, finished):
    folder = finished / "mine"
    folder.mkdir()
    shutil.copy(finished / "data/fer2013/test/sad/00.png", folder / "face.png")
    (folder / "notes.txt").write_text("not an image")
    outcome = command("cnn.predict", "run=out", "images=mine")
    assert outcome.status == 0
    assert "set aside: mine/notes.txt" in outcome.out
    (folder / "face.png").unlink()
    assert "none of 1 files" in command("cnn.predict", "run=out", "images=mine").error
    assert "no such file" in command("cnn.predict", "run=out", "images=absent.png").error


def test_odd_file_names_are_shown_as_they_are(command, finished):
    folder = finished / "mine"
    folder.mkdir()
    shutil.copy(finished / "data/fer2013/test/sad/00.png", folder / "a[happy].png")
    (folder / "a[bold].txt").write_text("not an image")
    outcome = command("cnn.predict", "run=out", "images=mine")
    assert outcome.status == 0
    assert "a[happy].png" in outcome.out
    assert "a[bold].txt" in outcome.out


def test_a_run_in_bfloat16_says_that_it_is_emulated_and_is_scored_in_bfloat16(command, workplace):
    trained = command("cnn.train", *QUICK, "trainer.precision=bfloat16", "hydra.run.dir=out")
    assert trained.status == 0
    assert "precision=bfloat16 is emulated on a CPU" in trained.out
    assert "emulated" not in command("cnn.train", *QUICK, "trainer.precision=auto", "hydra.run.dir=auto").out
    metrics = {name: json.loads((workplace / name / "metrics.json").read_text()) for name in ("out", "auto")}
    assert {name: each["precision"] for name, each in metrics.items()} == {"out": "bfloat16", "auto": "float32"}
    command("cnn.evaluate", "run=out", "split=test")
    scores = json.loads((workplace / "out/evaluation_test.json").read_text())
    assert scores["log_loss"] == metrics["out"]["test_log_loss"]  # which differs in float32
    assert scores["log_loss"] != metrics["auto"]["test_log_loss"]
