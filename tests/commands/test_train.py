from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from cnn.backends import gpu_missing
from cnn.layers import PatchWhitening
from cnn.reporting.metrics_csv import read_history
from cnn.training.checkpoint import load_checkpoint
from cnn.training.loop import Trainer
from commands.small import CLASSES, COUNTS, QUICK
from training.states import without_times

FILES = {
    ".hydra",
    "checkpoint.last.safetensors",
    "classification_report.txt",
    "confusion_matrix.png",
    "curves.png",
    "metrics.csv",
    "metrics.json",
    "model.best.safetensors",
    "predictions.png",
    "report.html",
    "train.log",
}


def rows_without_times(path):
    return without_times(read_history(path))


def test_a_report_without_images_and_a_profile(command, workplace):
    options = ("report.images=false", "trainer.profile=true", "hydra.verbose=true", "augment=flip_shift")
    outcome = command("cnn.train", *QUICK, "trainer.epochs=1", *options, "hydra.run.dir=out")
    assert outcome.status == 0, outcome.err
    out = workplace / "out"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "<img" not in report
    assert "What it saw" not in report
    assert "In training each image is mirrored at random, shifted by up to" in report
    assert not (out / "predictions.png").exists()
    with (out / "profile.csv").open(encoding="utf-8") as file:
        parts = list(csv.DictReader(file))
    assert sum(float(row["fraction"]) for row in parts) == pytest.approx(1, abs=1e-3)
    assert {"batch and augmentation", "loss", "update"} < {row["part"] for row in parts}
    assert (out / "profile.png").is_file()
    log = (out / "train.log").read_text(encoding="utf-8")
    assert log.count("blocks of a training step:") == 1  # a detail
    assert "conv2d_1" in log
    assert "a training step, part by part" in log
    assert load_checkpoint(out / "model.best.safetensors")[1]["trainer"].get("profile") is None


def test_a_run_leaves_a_whole_folder_and_a_pack(command, workplace, real_plots):
    outcome = command("cnn.train", *QUICK, "hydra.run.dir=out")
    assert outcome.status == 0, outcome.err
    for path in (workplace / "out").glob("*.png"):
        with Image.open(path) as plot:
            assert min(plot.size) > 300
    on_cpu = {"convolutions.json"} if gpu_missing() else set()
    assert {path.name for path in (workplace / "out").iterdir()} == FILES | on_cpu
    metrics = json.loads((workplace / "out" / "metrics.json").read_text())
    assert {
        "val_accuracy", "test_accuracy", "test_accuracy_interval", "macro_f1", "per_class", "parameters", "epochs",
        "seconds", "images_per_second", "seed", "pack_hash", "versions",
    } <= set(metrics)  # fmt: skip
    assert metrics["epochs"] == 3
    assert metrics["test_images"] == COUNTS["test"] * len(CLASSES)
    low, high = metrics["test_accuracy_interval"]
    assert low <= metrics["test_accuracy"] <= high
    history = read_history(workplace / "out" / "metrics.csv")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert metrics["val_accuracy"] == max(row["val_accuracy"] for row in history)
    report = (workplace / "out" / "report.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/)", report)  # opens from disk, loads nothing
    log = (workplace / "out" / "train.log").read_text(encoding="utf-8").splitlines()
    printed = [line.rstrip() for line in outcome.out.splitlines() if line.strip()]
    assert printed == [line for line in log[1:] if line]
    for part in ("What it saw", "Grad-CAM", "Thresholds", "After the merge no validation or test image", "mirrored"):
        assert (part in report) == (part != "mirrored"), part  # augment=none
    assert "python -m cnn.train data=fer2013" in report
    assert {each["name"] for each in metrics["thresholds"]} == set(CLASSES)
    assert f"{metrics['test_accuracy']:.4f}" in outcome.out
    (pack,) = (workplace / "packs").iterdir()
    assert json.loads((pack / "pack.json").read_text())["content_hash"] == metrics["pack_hash"]


def test_bright_rows_are_learned(command, workplace):
    assert command("cnn.train", *QUICK, "trainer.epochs=30", "hydra.run.dir=out").status == 0
    metrics = json.loads((workplace / "out" / "metrics.json").read_text())
    assert metrics["test_accuracy"] > 0.8
    assert metrics["baselines"]["majority guess"] == pytest.approx(1 / 7)


def test_the_same_seed_repeats_and_another_does_not(command, workplace):
    for folder, extra in (("a", "seed=5"), ("b", "seed=5"), ("c", "seed=6")):
        options = (*QUICK, extra, "augment=flip_shift", f"hydra.run.dir={folder}", "backend.threads=2")
        assert command("cnn.train", *options).status == 0
    assert rows_without_times(workplace / "a/metrics.csv") == rows_without_times(workplace / "b/metrics.csv")
    assert rows_without_times(workplace / "a/metrics.csv") != rows_without_times(workplace / "c/metrics.csv")


def test_the_number_of_threads_changes_nothing(command, workplace):
    for threads in (1, 3):
        assert command("cnn.train", *QUICK, f"hydra.run.dir=t{threads}", f"backend.threads={threads}").status == 0
    assert rows_without_times(workplace / "t1/metrics.csv") == rows_without_times(workplace / "t3/metrics.csv")


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(command, workplace, monkeypatch):
    options = (*QUICK, "trainer.epochs=4", "augment=flip_shift", "seed=3")
    assert command("cnn.train", *options, "hydra.run.dir=whole").status == 0

    validate = Trainer._validate

    def interrupt_in_third_epoch(trainer, *arguments):
        if trainer.epoch == 2:
            raise KeyboardInterrupt
        return validate(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_validate", interrupt_in_third_epoch)
    outcome = command("cnn.train", *options, "hydra.run.dir=broken")
    assert outcome.status == 130
    assert "resume=broken" in outcome.out
    assert len(read_history(workplace / "broken/metrics.csv")) == 2
    assert not (workplace / "broken/metrics.json").exists()
    monkeypatch.setattr(Trainer, "_validate", validate)

    assert command("cnn.train", "resume=broken").status == 0
    assert rows_without_times(workplace / "whole/metrics.csv") == rows_without_times(workplace / "broken/metrics.csv")
    for name in ("model.best.safetensors", "checkpoint.last.safetensors"):
        whole, _ = load_checkpoint(workplace / "whole" / name)
        broken, _ = load_checkpoint(workplace / "broken" / name)
        assert all((whole[key] == broken[key]).all() for key in whole)
    assert "is finished" in command("cnn.train", "resume=broken").error


def test_resume_refuses_what_is_no_run_and_other_options(command, workplace, monkeypatch):
    assert "there is no run" in command("cnn.train", "resume=nowhere").error

    def stop(trainer, *_):
        raise KeyboardInterrupt

    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda trainer, *rest: fit(trainer, *rest[:3], lambda: stop(trainer)))
    assert command("cnn.train", *QUICK, "hydra.run.dir=begun").status == 130
    monkeypatch.setattr(Trainer, "fit", fit)
    record = (workplace / "begun/.hydra/overrides.yaml").read_text()
    assert "another model" in command("cnn.train", "resume=begun", "model.widths=[4,4]").error
    assert "another seed" in command("cnn.train", "resume=begun", "seed=9").error
    assert "another trainer" in command("cnn.train", "resume=begun", "trainer.batch_size=20").error
    assert "another schedule" in command("cnn.train", "resume=begun", "schedule=plateau").error
    assert "holds a run already" in command("cnn.train", *QUICK, "hydra.run.dir=begun").error
    assert (workplace / "begun/.hydra/overrides.yaml").read_text() == record
    assert command("cnn.train", "resume=begun").status == 0


def test_a_changed_option_or_source_makes_a_new_pack(command, workplace):
    assert "using the pack" not in command("cnn.train", *QUICK, "hydra.run.dir=a").out
    assert "using the pack" in command("cnn.train", *QUICK, "hydra.run.dir=b").out
    changed = command("cnn.train", *QUICK, "hydra.run.dir=c", "merge.duplicates=bytes")
    assert "using the pack" not in changed.out
    (workplace / "data/fer2013/train/sad/00.png").unlink()
    assert "using the pack" not in command("cnn.train", *QUICK, "hydra.run.dir=d").out


def test_a_pack_is_enough_to_train_with(command, workplace):
    assert command("cnn.train", *QUICK, "hydra.run.dir=a").status == 0
    shutil.rmtree(workplace / "data")
    outcome = command("cnn.train", *QUICK, "hydra.run.dir=b")
    assert outcome.status == 0
    assert "as it is" in outcome.out


def test_a_damaged_pack_is_made_anew(command, workplace):
    assert command("cnn.train", *QUICK, "hydra.run.dir=a").status == 0
    (images,) = (workplace / "packs").glob("*/images.npy")
    images.write_bytes(images.read_bytes()[:-100])
    outcome = command("cnn.train", *QUICK, "hydra.run.dir=b")
    assert outcome.status == 0
    assert "using the pack" not in outcome.out


def test_two_runs_begun_at_once_have_folders_of_their_own(command, workplace):
    for _ in range(2):
        assert command("cnn.train", *QUICK, "trainer.epochs=1").status == 0
    assert len(list((workplace / "runs").glob("*/*/metrics.json"))) == 2


def test_a_sweep_gives_a_leaderboard_with_means_over_seeds(command, workplace):
    models = "model=lenet,baseline"
    sweep = [option for option in QUICK if not option.startswith("model")]
    options = ("-m", *sweep, models, "seed=0,1", "data.image_size=16", "trainer.epochs=1", "hydra.sweep.dir=swept")
    outcome = command("cnn.train", *options)
    assert outcome.status == 0, outcome.err
    with (workplace / "swept/leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"lenet", "baseline"}
    for row in rows:
        assert row["seeds"] == "2"
        scores = [
            json.loads(path.read_text())["test_accuracy"]
            for path in (workplace / "swept").glob("*/metrics.json")
            if json.loads(path.read_text())["model"] == row["model"]
        ]
        assert float(row["test_accuracy_mean"]) == pytest.approx(sum(scores) / 2, abs=1e-4)


def test_a_failed_job_costs_the_sweep_only_itself(command, workplace):
    outcome = command("cnn.train", "-m", *QUICK, "trainer.pixels=unit,raw", "hydra.sweep.dir=swept")
    assert outcome.status == 2
    assert "raw" in outcome.err.splitlines()[-1]
    assert (workplace / "swept/0/metrics.json").exists()
    assert "UserError" in (workplace / "swept/1/error.txt").read_text()
    assert "lenet" in (workplace / "swept/leaderboard.csv").read_text()


def test_the_merge_may_give_the_class_weights(command, workplace):
    """Its weights follow the same rule as the trainer's own: the two runs learn alike, one without weights does not."""
    for path in sorted((workplace / "data/fer2013/train/angry").iterdir())[3:]:
        path.unlink()
    losses = []
    for place, option in enumerate(
        ("merge.balance.method=class_weight", "trainer.class_weights=balanced", "trainer.class_weights=none")
    ):
        outcome = command("cnn.train", *QUICK, option, f"hydra.run.dir=out{place}")
        assert outcome.status == 0, outcome.err
        losses.append([row["train_loss"] for row in read_history(workplace / f"out{place}" / "metrics.csv")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)


def test_class_weights_of_the_merge_and_of_the_trainer_are_refused_together(command, workplace):
    both = ("merge.balance.method=class_weight", "trainer.class_weights=balanced")
    error = command("cnn.train", *QUICK, *both).error
    assert "trainer.class_weights=none or merge.balance.method=none" in error
    for one in both:
        assert command("cnn.train", *QUICK, "trainer.epochs=1", one).status == 0


def test_filters_that_whiten_patches_are_those_of_the_training_images_and_stay(command, workplace):
    model = ("model=airbench", "model.widths=[4,4,4]")
    options = [option for option in QUICK if not option.startswith("model")]
    assert command("cnn.train", *options, *model, "trainer.epochs=2", "hydra.run.dir=out").status == 0
    (pack,) = (workplace / "packs").iterdir()
    images = np.load(pack / "images.npy")[np.load(pack / "splits.npy") == 0]
    tensors, metadata = load_checkpoint(workplace / "out" / "model.best.safetensors")
    scaled = images.reshape(-1, 12, 12, 1) * metadata["pixel_scale"][0] + metadata["pixel_offset"][0]
    expected = PatchWhitening(3).from_images(scaled.astype(np.float32))["weight"]
    np.testing.assert_allclose(tensors["patch_whitening_1.weight"], expected, rtol=1e-4, atol=1e-5)
    last = load_checkpoint(workplace / "out" / "checkpoint.last.safetensors")[0]
    np.testing.assert_array_equal(last["model/patch_whitening_1.weight"], tensors["patch_whitening_1.weight"])
