"""What the parts of a recipe bring: changes are found among the jobs of a sweep, and compared by seed."""

import re

import pytest
import yaml
from hydra import compose, initialize_config_dir
from scipy.stats import t

from benchmarks import ablation
from benchmarks.ablation import CHANGES, RECIPE, main
from foundation.config import config_dir
from foundation.files import write_json

COMMON = ["experiment=fer_quick", "trainer.epochs=5"]
RECIPES = {0: 0.50, 1: 0.52, 2: 0.51}
ERASING = {0: 0.49, 1: 0.515, 2: 0.48, 7: 0.9}


@pytest.fixture
def sweep(tmp_path):
    """A folder with jobs of the recipe, of two changes, and one of the recipe with other epochs."""
    jobs = [
        (COMMON, RECIPES),
        ([*COMMON, "augment.flip=False"], {0: 0.4}),  # as a sweep writes `false`
        ([*COMMON, *CHANGES["with erasing"]], ERASING),
        (["experiment=fer_quick"], {0: 0.99}),
    ]
    for number, (overrides, seed, score) in enumerate(
        (overrides, seed, score) for overrides, scores in jobs for seed, score in scores.items()
    ):
        hydra = tmp_path / str(number) / ".hydra"
        hydra.mkdir(parents=True)
        (hydra / "overrides.yaml").write_text(yaml.safe_dump([f"seed={seed}", *overrides]))
        write_json(tmp_path / str(number) / "metrics.json", {"val_accuracy": score, "seed": seed})
    return tmp_path


def test_differences_are_paired_by_the_seeds_that_both_have(sweep, capsys):
    assert main(["--folder", str(sweep), "--table-only", "trainer.epochs=5", "hydra/launcher=joblib"]) == 0
    head, _, recipe, mirrored, erasing = capsys.readouterr().out.splitlines()
    assert head.startswith("| | seeds")
    assert [cell.strip() for cell in recipe.split("|")][1:5] == [RECIPE, "3", "0.5100 ± 0.0100", ""]
    assert [cell.strip() for cell in mirrored.split("|")][1:6] == ["without mirrored images", "1", "0.4000", "", ""]
    cells = [cell.strip() for cell in erasing.split("|")]
    assert cells[1:3] == ["with erasing", "4"]
    mean, reach = -1.5, t.ppf(0.975, 2) * 1.32287565 / 3**0.5  # of -1, -0.5 and -3 points
    assert cells[4] == f"{mean:+.2f}"
    assert [float(end) for end in cells[5].split(" to ")] == pytest.approx([mean - reach, mean + reach], abs=0.005)


def test_every_change_is_run_with_the_options_of_the_recipe(sweep, monkeypatch):
    commands = []

    def run(command, check):
        commands.append(command)
        return ablation.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(ablation.subprocess, "run", run)
    assert main(["--folder", str(sweep), "--seeds", "4,5", "--only", "with erasing", "trainer.epochs=5"]) == 0
    start = ["-m", "cnn.train", "-m", "seed=4,5", f"hydra.sweep.dir={sweep}", *COMMON]
    assert [command[1:] for command in commands] == [start, [*start, *CHANGES["with erasing"]]]


@pytest.mark.parametrize(
    ("options", "said"), [(["--epochs"], "--epochs is neither"), (["epochs"], "epochs is neither")]
)
def test_what_is_not_an_option_is_refused(sweep, capsys, options, said):
    assert main(["--folder", str(sweep), "--table-only", *options]) == 2
    assert said in capsys.readouterr().err


def test_options_are_found_as_the_sweep_has_written_them(sweep, capsys):
    for folder in sweep.iterdir():
        overrides = folder / ".hydra/overrides.yaml"
        overrides.write_text(yaml.safe_dump([*yaml.safe_load(overrides.read_text()), "optimizer.learning_rate=0.01"]))
    assert main(["--folder", str(sweep), "--table-only", "trainer.epochs=5", "optimizer.learning_rate=1e-2"]) == 0
    assert f"| {RECIPE} | 3 | 0.5100 ± 0.0100 |" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["trainer.epochs=5,6"], ["trainer.epochs=[5"]])
def test_options_that_make_no_single_job_are_refused_before_a_run(sweep, capsys, monkeypatch, options):
    monkeypatch.setattr(ablation.subprocess, "run", pytest.fail)
    assert main(["--folder", str(sweep), *options]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_without_a_run_of_the_recipe_there_is_no_table(sweep, capsys):
    assert main(["--folder", str(sweep), "--table-only", "trainer.epochs=6"]) == 2
    assert re.search("no run of the recipe has finished", capsys.readouterr().err)


@pytest.mark.parametrize("name", [name for name in CHANGES if name != RECIPE])
def test_each_change_changes_the_recipe(name):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        recipe, changed = (compose("config", [COMMON[0], *options]) for options in ((), CHANGES[name]))
    assert recipe != changed
