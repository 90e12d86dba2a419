"""`resume=FOLDER` goes on with the recorded options; those given with it take their places."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import cnn.train
from cnn.reporting.metrics_csv import read_history
from cnn.resume import resumed_config, run_arguments
from cnn.training.loop import Trainer
from commands.small import QUICK
from foundation.errors import UserError
from foundation.files import locked
from foundation.run_lock import LOCK


def stop_after_an_epoch(patch: pytest.MonkeyPatch) -> None:
    """Training is interrupted at the end of its next epoch."""

    def stop() -> None:
        raise KeyboardInterrupt

    fit = Trainer.fit
    patch.setattr(Trainer, "fit", lambda trainer, *rest: fit(trainer, *rest[:3], stop))


def recorded(folder: Path, **changes: object) -> Path:
    """A folder that looks like an interrupted run, with the config of an older run."""
    old = Path(__file__).parents[1] / "models/data/run_58607be/baseline"
    shutil.copytree(old, folder)
    path = folder / ".hydra/config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return folder


GIVEN = [
    # An argument, what Hydra gets, and an option of a composed config with its value.
    ("data.root=/some/path", "++data.root=/some/path", ("data.root", "/some/path")),
    ("+data.root=../data", "++data.root=../data", ("data.root", "../data")),
    ("++data.root='a=b'", "++data.root='a=b'", ("data.root", "a=b")),
    ("backend.threads=2", "++backend.threads=2", ("backend.threads", 2)),
    ("seed=3", "seed=3", ("seed", 3)),
    ("+seed=3", "seed=3", ("seed", 3)),
    ("data.sources.mine.stem=x", "++data.sources.mine.stem=x", ("data.sources.mine.stem", "x")),
]


@pytest.mark.parametrize(("argument", "passed", "option"), GIVEN)
def test_a_given_option_takes_the_place_of_the_recorded_one(tmp_path, argument, passed, option):
    run = recorded(tmp_path / "run")
    arguments = run_arguments([f"resume={run}", argument])
    assert arguments[0] == passed
    assert arguments[-1] == "hydra.output_subdir=null"
    composed = OmegaConf.create({"resume": str(run)})
    OmegaConf.update(composed, *option)
    before = resumed_config(composed, [])
    config = resumed_config(composed, [passed])
    assert OmegaConf.select(config, option[0]) == option[1]
    OmegaConf.update(before, *option, force_add=True)
    assert config == before


def test_a_given_group_takes_the_place_of_the_recorded_one(tmp_path):
    run = recorded(tmp_path / "run")
    composed = OmegaConf.create({"resume": str(run), "schedule": {"name": "cosine"}, "seed": 9})
    config = resumed_config(composed, ["schedule=cosine"])
    assert config.schedule == {"name": "cosine"}
    assert config.seed == 7


@pytest.mark.parametrize(
    ("option", "words"),
    [("trainer.epoch", "trainer.epoch"), ("seed.x", "no such option"), ("model.layers.0.x", "no such option")],
)
def test_an_unknown_given_option_is_refused(tmp_path, option, words):
    run = recorded(tmp_path / "run")
    composed = OmegaConf.create({"resume": str(run), "trainer": {"epoch": 1}, "seed": 1, "model": {"layers": [1]}})
    with pytest.raises(UserError, match=words):
        resumed_config(composed, [f"++{option}=1"])


def test_options_of_hydra_are_passed_on(tmp_path):
    run = recorded(tmp_path / "run")
    own = ["hydra.job.chdir=true", "--config-dir=x", "hydra/job_logging=none"]
    assert run_arguments([f"resume={run}", *own])[:3] == own


def test_an_option_that_did_not_exist_then_has_its_default(tmp_path):
    trainer = {"epochs": 50, "batch_size": 64}
    run = recorded(tmp_path / "run", trainer=trainer)
    config = resumed_config(OmegaConf.create({"resume": str(run)}), [])
    assert config.trainer.precision == "float32"
    assert config.backend.convolution == "auto"


@pytest.mark.parametrize("job", [None, "0"])
def test_a_run_and_a_job_of_a_sweep_resume(command, workplace, monkeypatch, job):
    options = (*QUICK, f"data.root={workplace / 'data'}", "schedule=cosine")
    with monkeypatch.context() as patch:
        stop_after_an_epoch(patch)
        if job is None:
            assert command("cnn.train", *options, "hydra.run.dir=out").status == 130
            folder = Path("out")
        else:
            options = (*options, "seed=3,4", "+hydra.job.env_set.CNN_TEST_OF_SWEEP=1")
            assert command("cnn.train", "-m", *options, "hydra.sweep.dir=out").status == 130
            folder = Path("out") / job
    record = (folder / ".hydra/config.yaml").read_text()
    assert "${" not in record
    assert yaml.safe_load(record)["data"]["root"] == str(workplace / "data")
    outcome = command("cnn.train", f"resume={folder}")
    assert outcome.status == 0, outcome.err
    assert "resumed after epoch" in outcome.out
    assert (folder / ".hydra/config.yaml").read_text() == record


def test_a_run_that_was_lengthened_keeps_its_length(command, workplace, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after_an_epoch(patch)
        assert command("cnn.train", *QUICK, "schedule=constant", "hydra.run.dir=out").status == 130
        assert command("cnn.train", "resume=out", "trainer.epochs=5").status == 130
    assert command("cnn.train", "resume=out").status == 0
    assert len(read_history(Path("out/metrics.csv"))) == 5


def test_a_row_that_a_kill_has_lost_is_written_again(command, workplace, monkeypatch):
    """Killed after the checkpoint of an epoch, before its row; the list of algorithms is whole too."""
    options = (*QUICK, "backend=cpu", "hydra.run.dir=whole")
    assert command("cnn.train", *options).status == 0

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        written = []
        whole = cnn.train.write_history

        def write(path, rows):
            written.append(len(rows))
            killed() if len(rows) == 2 else whole(path, rows)

        patch.setattr("cnn.train.write_history", write)
        assert command("cnn.train", *options[:-1], "hydra.run.dir=out").status == 130
    assert len(read_history(Path("out/metrics.csv"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_epoch", killed)
        assert command("cnn.train", "resume=out").status == 130
    assert [row["epoch"] for row in read_history(Path("out/metrics.csv"))] == [1, 2]
    assert command("cnn.train", "resume=out").status == 0
    assert [row["epoch"] for row in read_history(Path("out/metrics.csv"))] == [1, 2, 3]
    for name in ("convolutions.json", "model.best.safetensors"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.parametrize("how", ["resume={}", "hydra.run.dir={}"])
def test_a_folder_in_which_a_process_runs_is_refused(command, tmp_path, how):
    run = recorded(tmp_path / "run")
    if how.startswith("hydra"):
        (run / "checkpoint.last.safetensors").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with locked(run / LOCK, lambda: None):
        assert "another process runs in this folder" in command("cnn.train", how.format(run)).error
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_what_a_killed_run_has_left_is_removed_when_it_goes_on(command, workplace, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after_an_epoch(patch)
        assert command("cnn.train", *QUICK, "hydra.run.dir=out").status == 130
    left = (".metrics.abcd_123.csv", ".checkpoint.last.0000000a.safetensors")
    for name in (*left, ".notes", ".own.csv", LOCK):
        Path("out", name).write_text("x")
    assert command("cnn.train", "resume=out").status == 0
    hidden = {path.name for path in Path("out").iterdir() if path.name.startswith(".")}
    assert hidden == {".hydra", ".notes", ".own.csv"}


def test_a_folder_whose_name_would_be_computed_is_refused(command, tmp_path):
    run = recorded(tmp_path / "${oc.env:HOME}")
    assert "give the folder another name" in command("cnn.train", f"resume={run}").error
