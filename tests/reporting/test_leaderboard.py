"""The leaderboard of a sweep, over folders made by hand and over a real Hydra multirun with a failing job."""

import csv
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from job_folders import make_job, scored
from PIL import Image

from cnn.reporting.leaderboard import main, write_leaderboard
from foundation.errors import UserError


def read_rows(folder):
    with (folder / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def sweep(tmp_path):
    """3 models x 2 seeds; lenet is best on the test split, baseline on validation; one job of vgg failed."""
    values = {"baseline": [(0.80, 0.70), (0.84, 0.72)], "lenet": [(0.70, 0.90), (0.72, 0.94)], "vgg": [(0.75, 0.7)]}
    number = 0
    for model, results in values.items():
        for seed in range(2):
            overrides = ["trainer.epochs=3", f"model={model}", f"seed={seed}"]
            if seed < len(results):
                make_job(tmp_path / str(number), overrides, scored(seed, *results[seed]))
            else:
                make_job(tmp_path / str(number), overrides, error=True)
            number += 1
    (tmp_path / "multirun.yaml").write_text("")
    return tmp_path


def test_rows_are_ranked_on_validation(sweep):
    write_leaderboard(sweep)
    rows = read_rows(sweep)
    assert list(rows[0]) == [
        "model",
        "trainer.epochs",
        "parameters",
        "seeds",
        "val_accuracy_mean",
        "val_accuracy_std",
        "test_accuracy_mean",
        "test_accuracy_std",
        "macro_f1_mean",
        "seconds_mean",
        "images_per_second_mean",
        "failed",
    ]
    assert [row["model"] for row in rows] == ["baseline", "vgg", "lenet"]
    best = rows[0]
    assert (best["seeds"], best["failed"], best["parameters"], best["trainer.epochs"]) == ("2", "0", "1000", "3")
    assert float(best["val_accuracy_mean"]) == pytest.approx(0.82)
    assert float(best["val_accuracy_std"]) == pytest.approx(0.04 / 2**0.5, abs=1e-6)  # n - 1
    assert float(best["test_accuracy_mean"]) == pytest.approx(0.71)
    assert float(best["test_accuracy_std"]) == pytest.approx(statistics.stdev([0.70, 0.72]), abs=1e-6)
    assert float(best["macro_f1_mean"]) == pytest.approx(0.61)
    assert float(best["seconds_mean"]) == pytest.approx(10.5)


def test_a_failed_job_is_counted_and_one_seed_has_no_deviation(sweep):
    write_leaderboard(sweep)
    vgg = read_rows(sweep)[1]
    assert (vgg["seeds"], vgg["failed"]) == ("1", "1")
    assert (vgg["val_accuracy_mean"], vgg["val_accuracy_std"], vgg["test_accuracy_std"]) == ("0.75", "", "")


def test_the_plot_shows_validation_scores_and_no_test_scores(sweep, texts):
    write_leaderboard(sweep)
    with Image.open(sweep / "leaderboard.png") as figure:
        figure.load()
        assert figure.width > 1000
        assert figure.height > 300
    assert {"baseline", "vgg", "lenet", "82.0 ± 2.8 %", "75.0 %", "71.0 ± 1.4 %"} <= set(texts)
    assert texts.count("71.0 ± 1.4 %") == 1  # lenet on validation; baseline has it on test
    assert not any("test" in text or text.startswith(("92", "70")) for text in texts)
    assert "not shown: 1 job without a score" in texts


def test_the_plot_of_a_search_names_what_differs_and_has_a_largest_height(tmp_path, texts):
    for number in range(60):
        rate = 0.123456789 + number / 1000
        overrides = [f"optimizer.learning_rate={rate}", "trainer.epochs=3", f"a.size={number}", f"b.size={number}"]
        make_job(tmp_path / str(number), overrides, scored(0, 0.9 - number / 1000, 0.5), chosen_model="lenet")
    write_leaderboard(tmp_path)
    assert "lenet, a.size=0, b.size=0,\nlearning_rate=0.1235" in texts
    assert not any("epochs" in text for text in texts)
    assert "not shown: 20 lower configurations" in texts
    assert len({text for text in texts if text.startswith("lenet")}) == 40


@pytest.mark.parametrize("scores", [(0.1, 0.98), (0.0, 0.0), (0.26, 0.9), (0.5, 1.0)])
def test_the_plot_keeps_its_axis_with_any_scores(tmp_path, texts, scores):
    for number, score in enumerate(scores):
        make_job(tmp_path / str(number), ["model=lenet", f"seed={number}"], scored(number, score, 0.5))
    write_leaderboard(tmp_path)
    assert {"0%", "100%"} <= set(texts)
    with Image.open(tmp_path / "leaderboard.png") as figure:
        assert figure.width == 1440


def test_a_score_that_is_not_finite_is_none(tmp_path, texts):
    values = [(math.nan, 0.6), (0.5, math.inf), (math.nan, math.nan)]
    for number, (one, other) in enumerate(values):
        for seed, value in enumerate((one, other)):
            overrides = [f"model=m{number}", f"seed={seed}"]
            make_job(tmp_path / f"{number}{seed}", overrides, scored(seed, value, 0.5))
    write_leaderboard(tmp_path)
    assert [row["model"] for row in read_rows(tmp_path)] == ["m0", "m1", "m2"]
    assert [row["val_accuracy_mean"] for row in read_rows(tmp_path)] == ["0.6", "0.5", ""]
    assert "not shown: 4 jobs without a score" in texts


def test_runs_without_a_score_are_not_drawn(tmp_path):
    make_job(tmp_path / "0", ["model=lenet"], {"val_accuracy": None, "test_accuracy": 0.5})
    write_leaderboard(tmp_path)
    assert not (tmp_path / "leaderboard.png").exists()


def test_other_overridden_keys_tell_configurations_apart(tmp_path):
    for number, rate in enumerate(["0.1", "0.01", "0.1"]):
        overrides = [f"++optimizer.learning_rate={rate}", f"seed={number}"]
        make_job(tmp_path / str(number), overrides, scored(number, 0.5 + float(rate), 0.5), chosen_model="lenet")
    make_job(tmp_path / "3", ["+note=a=${b},c", "seed=0"], scored(0, 0.1, 0.1), chosen_model="lenet")
    write_leaderboard(tmp_path)
    rows = read_rows(tmp_path)
    assert [row["model"] for row in rows] == ["lenet"] * 3
    assert [row["optimizer.learning_rate"] for row in rows] == ["0.1", "0.01", ""]
    assert [row["seeds"] for row in rows] == ["2", "1", "1"]
    assert [row["note"] for row in rows] == ["", "", "a=${b},c"]


def test_a_seed_that_ran_twice_is_one_sample(tmp_path):
    for number in range(2):
        make_job(tmp_path / str(number), ["model=lenet", "seed=5"], scored(5, 0.5, 0.5))
    write_leaderboard(tmp_path)
    assert [(row["seeds"], row["val_accuracy_std"]) for row in read_rows(tmp_path)] == [("1", "")]


def test_jobs_two_levels_down(tmp_path):
    make_job(tmp_path / "model=lenet" / "seed=0", ["model=lenet", "seed=0"], scored(0, 0.5, 0.5))
    make_job(tmp_path / "model=lenet" / "seed=1", ["model=lenet", "seed=1"])
    write_leaderboard(tmp_path)
    assert [(row["model"], row["seeds"], row["failed"]) for row in read_rows(tmp_path)] == [("lenet", "1", "1")]


def test_damaged_files_cost_one_job_only(tmp_path):
    make_job(tmp_path / "0", ["model=lenet", "seed=0"], scored(0, 0.5, 0.5))
    make_job(tmp_path / "1", ["model=lenet", "seed=1"])
    (tmp_path / "1" / "metrics.json").write_text('{"val_accuracy": 0.')
    make_job(tmp_path / "2", [], scored(2, 0.4, 0.4, model="from metrics"))
    (tmp_path / "2" / ".hydra" / "overrides.yaml").write_text("- [unclosed")
    write_leaderboard(tmp_path)
    rows = [(row["model"], row["seeds"], row["failed"]) for row in read_rows(tmp_path)]
    assert rows == [("lenet", "1", "1"), ("from metrics", "1", "0")]


def test_missing_scores_are_empty_cells(tmp_path):
    make_job(tmp_path / "0", ["model=lenet"], {"val_accuracy": 0.5, "test_accuracy": None})
    write_leaderboard(tmp_path)
    (row,) = read_rows(tmp_path)
    assert (row["val_accuracy_mean"], row["test_accuracy_mean"], row["parameters"]) == ("0.5", "", "")


def test_a_sweep_of_failures_has_rows_and_no_plot(tmp_path):
    make_job(tmp_path / "0", ["model=lenet"], error=True)
    write_leaderboard(tmp_path)
    assert [(row["model"], row["seeds"], row["failed"]) for row in read_rows(tmp_path)] == [("lenet", "0", "1")]
    assert not (tmp_path / "leaderboard.png").exists()


def test_by_hand(sweep, capsys):
    assert main([str(sweep)]) == 0
    printed = capsys.readouterr().out
    assert "leaderboard.html" in printed
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen, tested = ({f"{float(row[f'{split}_accuracy_mean']):.4f}" for row in rows} for split in ("val", "test"))
    assert all(each in printed for each in chosen)
    assert tested - chosen
    assert not any(each in printed for each in tested - chosen)


def test_a_folder_that_is_no_sweep(tmp_path, capsys):
    with pytest.raises(UserError, match="no job folders"):
        write_leaderboard(tmp_path)
    assert main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


APPLICATION = """
import json
import hydra
from hydra.core.hydra_config import HydraConfig
from pathlib import Path

@hydra.main(version_base="1.3", config_path=None, config_name="config")
def run(config):
    if (config.model, config.seed) == ("b", 1):
        raise RuntimeError("this job fails")
    folder = Path(HydraConfig.get().runtime.output_dir)
    if folder.name not in ("single", "0") and not (folder.parent / "leaderboard.csv").is_file():
        raise RuntimeError("there is no leaderboard of the jobs before")
    scores = {"val_accuracy": {"a": 0.5, "b": 0.75}[config.model] + config.seed / 10, "seed": config.seed}
    (folder / "metrics.json").write_text(json.dumps(scores))

from hydra.core.config_store import ConfigStore
ConfigStore.instance().store("config", {
    "model": "a",
    "seed": 0,
    "hydra": {
        "callbacks": {"leaderboard": {"_target_": "cnn.reporting.leaderboard.Leaderboard"}},
        "sweep": {"dir": "sweep", "subdir": "${hydra.job.num}"},
        "run": {"dir": "single"},
        "job": {"chdir": True},
    },
})
run()
"""


def run_application(folder, *arguments):
    (folder / "application.py").write_text(APPLICATION)
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "application.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_callback_survives_a_failing_job(tmp_path):
    done = run_application(tmp_path, "-m", "model=a,b", "seed=0,1,2")
    assert "this job fails" in done.stderr
    assert "no leaderboard" not in done.stderr
    assert "Callback" not in done.stderr  # Hydra turns what a callback raises into a warning
    rows = [(row["model"], row["seeds"], row["failed"]) for row in read_rows(tmp_path / "sweep")]
    assert rows == [("b", "2", "1"), ("a", "3", "0")]


def test_the_callback_leaves_a_single_run_alone(tmp_path):
    done = run_application(tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("leaderboard.*"))
