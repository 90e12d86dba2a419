"""Test-time augmentation, averaged runs, calibration, comparison: against predictions through the Python interface."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from numpy.testing import assert_allclose
from PIL import Image

from cnn import Classifier
from cnn.reporting.metrics import compute_scores
from cnn.train import main as train
from commands.small import CLASSES, QUICK, write_faces

# Two recipes over three and two seeds; one run in larger images, one on another validation split.
RUNS = {
    **{f"a{seed}": (f"seed={seed}",) for seed in range(3)},
    **{f"b{seed}": (f"seed={seed}", "optimizer.learning_rate=0.003") for seed in (0, 1)},
    "large": ("data.image_size=14", "seed=4"),
    "other": ("data.root=fewer", "data.pack_dir=packs_fewer", "seed=5"),
    "pair": ("data.root=two", "data.classes=[happy,sad]", "seed=6"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the runs, trained once."""
    folder = tmp_path_factory.mktemp("scoring")
    counts = {"train": 12, "validation": 6, "test": 5}
    write_faces(folder / "data/fer2013", counts)
    write_faces(folder / "fewer/fer2013", counts)
    (folder / "fewer/fer2013/validation/sad/00.png").unlink()
    for split in counts:
        for name in ("happy", "sad"):
            shutil.copytree(folder / "data/fer2013" / split / name, folder / "two/fer2013" / split / name)
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        # Of the files of a run only the network is read here.
        patch.setattr(
            "cnn.train.write_run_files",
            lambda folder, **run: compute_scores(run["labels"], run["probabilities"], run["classes"]),
        )
        for name, overrides in RUNS.items():
            options = [
                *QUICK,
                "trainer.epochs=2",
                "baselines.logistic_regression_up_to=0",
                "optimizer.learning_rate=0.005",
                *overrides,
            ]
            patch.setattr(sys, "argv", ["cnn/train.py", *options, f"hydra.run.dir={name}"])
            train()
    return folder


@pytest.fixture
def runs(trained, monkeypatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def split_of(folder: Path, size: int, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split, from the pack of the whole data."""
    for pack in (folder / "packs").iterdir():
        about = json.loads((pack / "pack.json").read_text())
        images, labels, splits = (np.load(pack / f"{name}.npy") for name in ("images", "labels", "splits"))
        if about["image_size"] == size and (splits == 1).sum() == 6 * len(CLASSES):
            return images[splits == split], labels[splits == split]
    raise AssertionError("there is no such pack")


def probabilities(run: Path, images: np.ndarray) -> np.ndarray:
    return Classifier.load(run).predict_proba(images)


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def check_scores(found: dict, labels: np.ndarray, expected: np.ndarray) -> None:
    """The scores in a result are those of the probabilities."""
    assert found["accuracy"] == pytest.approx((expected.argmax(1) == labels).mean())
    assert found["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, expected, labels=range(7)), rel=1e-4)
    low, high = found["bootstrap"]["accuracy"]
    assert low <= found["accuracy"] <= high
    low, high = found["bootstrap"]["macro_f1"]
    assert low < high


@pytest.mark.parametrize("split", ["validation", "test"])
def test_flip_is_the_mean_of_both_directions(command, runs, tmp_path, split):
    images, labels = split_of(runs, 12, ["train", "validation", "test"].index(split))
    outcome = command("cnn.evaluate", "run=a0", "tta=flip", f"split={split}", f"out={tmp_path}")
    assert outcome.status == 0
    expected = (probabilities(runs / "a0", images) + probabilities(runs / "a0", images[:, :, ::-1])) / 2
    check_scores(result(tmp_path, f"evaluation_{split}_flip"), labels, expected)
    words = "for reporting, once" if split == "test" else "score the test split once"
    assert words in outcome.out
    assert f"{split} split, tta=flip" in " ".join(outcome.out.split())


@pytest.mark.parametrize("options", [["tta=flip"], ["tta=shifts", "tta_shift=1"]])
def test_training_scores_with_the_views_of_its_recipe(command, runs, tmp_path, options):
    recipe = [*QUICK, "trainer.epochs=2", "optimizer.learning_rate=0.005", *(f"evaluate.{each}" for each in options)]
    outcome = command("cnn.train", *recipe, "seed=0", f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.status == 0, outcome.error
    found = result(tmp_path / "run", "metrics")
    for split in ("validation", "test"):
        assert command("cnn.evaluate", "run=a0", *options, f"split={split}", f"out={tmp_path}").status == 0
    name = options[0].removeprefix("tta=")
    validation, test = (result(tmp_path, f"evaluation_{split}_{name}") for split in ("validation", "test"))
    assert command("cnn.evaluate", "run=a0", f"out={tmp_path}").status == 0
    # The network is that of a0, and the epoch was selected as there.
    assert found["val_accuracy"] == result(tmp_path, "evaluation_validation")["accuracy"]
    assert found["val_accuracy_tta"] == validation["accuracy"]
    assert (found["test_accuracy"], found["test_log_loss"]) == (test["accuracy"], pytest.approx(test["log_loss"]))
    assert f"{found['val_accuracy_tta']:.4f} with tta={name}" in outcome.out
    assert f"evaluate.tta={name}" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["evaluate.tta=twice"], "choose one of"),
        (["evaluate.tta_crop=2"], "tta_crop must be"),
        (["evaluate.tta=shifts", "evaluate.tta_shift=12"], "out of sight"),
    ],
)
def test_wrong_views_stop_training_before_any_work(command, runs, tmp_path, options, words):
    outcome = command("cnn.train", *QUICK, *options, f"hydra.run.dir={tmp_path / 'run'}")
    assert (outcome.status, "pack" in outcome.out) == (2, False)
    assert words in outcome.error


def test_predict_sees_the_same_views(command, runs, tmp_path):
    images, _ = split_of(runs, 12, 2)
    Image.fromarray(images[3, :, :, 0]).save(tmp_path / "one.png")
    options = (f"images={tmp_path / 'one.png'}", f"csv={tmp_path / 'table.csv'}", "tta=shifts", "tta_shift=1")
    assert command("cnn.predict", "run=a0", *options).status == 0
    padded = np.pad(images[3], ((1, 1), (1, 1), (0, 0)), mode="edge")
    windows = np.stack([padded[top : top + 12, left : left + 12] for top in range(3) for left in range(3)])
    row = (tmp_path / "table.csv").read_text().splitlines()[1].split(",")
    assert_allclose([float(value) for value in row[2:]], probabilities(runs / "a0", windows).mean(axis=0), atol=1e-5)


def test_runs_are_averaged_and_each_is_listed(command, runs, tmp_path):
    images, labels = split_of(runs, 12, 1)
    outcome = command("cnn.evaluate", "run=[a0,a1,a2]", f"out={tmp_path}")
    assert outcome.status == 0
    each = [probabilities(runs / f"a{seed}", images) for seed in range(3)]
    found = result(tmp_path, "ensemble_validation")
    check_scores(found, labels, np.mean(each, axis=0))
    accuracies = [(own.argmax(1) == labels).mean() for own in each]
    assert [row["accuracy"] for row in found["runs"]] == pytest.approx(accuracies)
    assert [row["run"] for row in found["runs"]] == ["a0", "a1", "a2"]
    over = found["over_seeds"]["accuracy"]
    interval = scipy.stats.ttest_1samp(accuracies, 0).confidence_interval()
    assert over["mean"] == pytest.approx(np.mean(accuracies))
    assert over["interval"] == pytest.approx([interval.low, interval.high])
    assert "Mean over 3 seeds" in outcome.out


def test_runs_of_other_image_sizes_are_averaged_each_in_its_own(command, runs, tmp_path):
    images, labels = split_of(runs, 12, 1)
    large, large_labels = split_of(runs, 14, 1)
    assert (labels == large_labels).all()
    outcome = command("cnn.evaluate", "run=[a0,large]", f"out={tmp_path}")
    expected = (probabilities(runs / "a0", images) + probabilities(runs / "large", large)) / 2
    found = result(tmp_path, "ensemble_validation")
    check_scores(found, labels, expected)
    assert "over_seeds" not in found
    assert "No mean over seeds" in outcome.out


def test_the_temperature_of_validation_scores_test(command, runs, tmp_path):
    images, labels = split_of(runs, 12, 1)
    test_images, test_labels = split_of(runs, 12, 2)
    for split in ("validation", "test"):
        outcome = command("cnn.evaluate", "run=a0", f"split={split}", "calibrate=true", f"out={tmp_path}")
        assert outcome.status == 0
        assert "fitted on" in outcome.out
    validation, test = (result(tmp_path, f"evaluation_{split}")["calibration"] for split in ("validation", "test"))
    assert validation["temperature"] == test["temperature"]
    assert test["fitted_on"] == "validation"
    assert test["fitted_images"] == len(labels)

    def loss(temperature, pixels, given):
        scaled = probabilities(runs / "a0", pixels).astype(np.float64) ** (1 / temperature)
        return sklearn.metrics.log_loss(given, scaled / scaled.sum(axis=1, keepdims=True), labels=range(7))

    fitted = test["temperature"]
    assert loss(fitted, images, labels) <= min(loss(fitted * factor, images, labels) for factor in (0.98, 1.02, 0.5, 2))
    assert test["after"]["log_loss"] == pytest.approx(loss(fitted, test_images, test_labels), rel=1e-4)
    assert test["before"]["log_loss"] == pytest.approx(loss(1, test_images, test_labels), rel=1e-4)
    with Image.open(tmp_path / test["figure"]["file"]) as figure:
        assert figure.width > 400
    assert f"{test['after']['ece']:.3f}" in test["figure"]["alt"]


def test_bootstrap_can_be_left_out(command, runs, tmp_path):
    assert command("cnn.evaluate", "run=a0", "bootstrap=0", f"out={tmp_path}").status == 0
    assert "bootstrap" not in result(tmp_path, "evaluation_validation")


def test_two_runs_are_compared_image_by_image(command, runs, tmp_path):
    images, labels = split_of(runs, 12, 1)
    outcome = command("cnn.compare", "run=[a0,b1]", f"json={tmp_path / 'pair.json'}")
    assert outcome.status == 0
    a, b = (probabilities(runs / name, images).argmax(1) == labels for name in ("a0", "b1"))
    found = result(tmp_path, "pair")
    expected = {
        "both_right": (a & b).sum(),
        "only_a_right": (a > b).sum(),
        "only_b_right": (b > a).sum(),
        "both_wrong": (~(a | b)).sum(),
    }
    assert {key: found[key] for key in expected} == expected
    assert found["difference"] == pytest.approx(a.mean() - b.mean())
    p = scipy.stats.binomtest(int((a > b).sum()), int((a != b).sum())).pvalue if (a != b).any() else 1
    assert found["p_value"] == pytest.approx(p)
    assert "McNemar" in outcome.out
    assert found["split"] == "validation"
    page = (runs / "comparison.html").read_text(encoding="utf-8")
    cells = re.findall(r'<td class="n">([\d,]+)</td><td class="n">([\d,]+)</td></tr>', page)[:2]
    assert [int(each) for row in cells for each in row] == list(expected.values())
    for number, name in enumerate(CLASSES):
        row = re.search(rf'title="{name}".*', page)[0]
        assert [f"{each[labels == number].mean():.3f}" for each in (a, b)] == re.findall(r">(\d\.\d{3})<", row)[:2]
    assert page.count("<img ") == min((a > b).sum(), 12) + min((b > a).sum(), 12)
    assert "optimizer.learning_rate" in page
    assert command("cnn.compare", "run=[a0,b1]", f"page={tmp_path / 'none.html'}", "images=false").status == 0
    assert "<img " not in (tmp_path / "none.html").read_text(encoding="utf-8")
    other = command("cnn.compare", "run=b1", "against=a0", f"json={tmp_path / 'turned.json'}", "page=null")
    assert other.status == 0
    assert result(tmp_path, "turned")["difference"] == pytest.approx(-found["difference"])


def test_two_recipes_are_compared_by_seed_where_they_share_seeds(command, runs, tmp_path):
    images, labels = split_of(runs, 12, 1)
    right = {
        name: (probabilities(runs / name, images).argmax(1) == labels).mean() for name in ("a0", "a1", "a2", "b0", "b1")
    }
    options = (f"json={tmp_path / 'recipes.json'}",)
    assert command("cnn.compare", "run=[a0,a1]", "against=[b1,b0]", *options).status == 0
    found = result(tmp_path, "recipes")
    expected = scipy.stats.ttest_rel([right["a0"], right["a1"]], [right["b0"], right["b1"]]).confidence_interval()
    assert found["paired"]
    assert found["interval"] == pytest.approx([expected.low, expected.high])
    page = (runs / "comparison.html").read_text(encoding="utf-8")
    assert "paired by seed" in page
    assert f"{np.mean([right['a0'], right['a1']]):.4f}" in page
    assert command("cnn.compare", "run=[a0,a1,a2]", "against=[b0,b1]", *options).status == 0
    found = result(tmp_path, "recipes")
    groups = [[right[name] for name in names] for names in (("a0", "a1", "a2"), ("b0", "b1"))]
    expected = scipy.stats.ttest_ind(*groups, equal_var=False).confidence_interval()
    assert not found["paired"]
    assert found["interval"] == pytest.approx([expected.low, expected.high])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run=[a0,pair]"], ["a0", "pair", "other classes", "angry"]),
        (["run=[a0,other]"], ["a0", "other", "validation split", "42 and 41"]),
        (["run=[a0,a0]"], ["names a run twice"]),
        (["run=[]"], ["run=[]"]),
        (["run=[a0,nowhere]"], ["nowhere", "no such folder"]),
        (["run=a0", "tta=mirror"], ["mirror", "none, flip, shifts, ten_crop"]),
        (["run=a0", "tta=shifts", "tta_shift=12"], ["tta_shift=12", "12 x 12"]),
        (["run=a0", "calibrate=maybe"], ["calibrate", "maybe"]),
        (["run=a0", "bootstrap=-1"], ["bootstrap", "-1"]),
    ],
)
def test_evaluate_says_what_is_wrong_in_one_line(command, runs, arguments, words):
    before = sorted(runs.rglob("*"))
    error = command("cnn.evaluate", *arguments).error
    assert all(word in error for word in words), error
    assert sorted(runs.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run=a0"], ["run=[A,B]", "against"]),
        (["run=[a0,a1,a2]"], ["run=[A,B]", "against"]),
        (["run=[a0,a1]", "against=[b0]"], ["run=[A,B]", "against"]),
        (["run=[a0,a1]", "against=[a1,b0]"], ["a1", "both sides"]),
        (["run=[a0,other]"], ["other", "validation split", "42 and 41"]),
        (["run=[a0,b1]", "against=[b0,a2]"], ["run are not seeds of one recipe", "optimizer.learning_rate", "0.003"]),
        (["run=[a0,b1]", "split=tset"], ["tset", "validation"]),
    ],
)
def test_compare_says_what_is_wrong_in_one_line(command, runs, arguments, words):
    error = command("cnn.compare", *arguments).error
    assert all(word in error for word in words), error


def test_a_seed_counts_once(command, runs):
    shutil.copytree("a0", "again", dirs_exist_ok=True)
    try:
        assert "both have seed 0" in command("cnn.compare", "run=[a0,again]", "against=[b0,b1]").error
    finally:
        shutil.rmtree("again")


def test_the_same_images_with_other_labels_are_other_images(command, runs, tmp_path):
    """Another size, so that the packs differ anyway, and one label that was changed."""
    (place,) = (p for p in (runs / "packs").iterdir() if json.loads((p / "pack.json").read_text())["image_size"] == 14)
    kept = (place / "manifest.csv").read_text()
    lines = kept.splitlines()
    number = next(n for n, line in enumerate(lines) if "validation/fear" in line)
    lines[number] = ",".join("happy" if cell == "fear" else cell for cell in lines[number].split(","))
    try:
        (place / "manifest.csv").write_text("\n".join(lines) + "\n")
        error = command("cnn.evaluate", "run=[a0,large]", f"out={tmp_path}").error
        assert "validation/fear" in error
        assert "another label" in error
    finally:
        (place / "manifest.csv").write_text(kept)


def test_folders_of_any_name_are_listed_as_they_are(command, runs, tmp_path):
    """Names that would be a number, or would need quotes, for Hydra."""
    names = ["007", "1e3", "a b=c é"]
    for name, run in zip(names, ("a0", "a1", "a2"), strict=True):
        shutil.copytree(run, tmp_path / name)
    listed = ",".join(str(tmp_path / name) for name in names)
    assert command("cnn.evaluate", f"run=[{listed}]", f"out={tmp_path}").status == 0
    found = result(tmp_path, "ensemble_validation")
    assert [Path(row["run"]).name for row in found["runs"]] == names
    with chdir(tmp_path):
        assert command("cnn.evaluate", "run=007", f"pack_dir={runs / 'packs'}").status == 0
    assert (tmp_path / "007" / "evaluation_validation.json").is_file()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_is_scored_and_printed(command, runs, monkeypatch, tmp_path, code):
    def refuse(path, value):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("cnn.evaluate.write_json", refuse)
    outcome = command("cnn.evaluate", "run=a0")
    assert outcome.status == 0, outcome.err
    assert "accuracy" in outcome.out
    assert "give out=FOLDER" in outcome.out
    assert os.strerror(code) in command("cnn.evaluate", "run=a0", f"out={tmp_path}").error
