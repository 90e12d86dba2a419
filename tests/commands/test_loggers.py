"""Runs that are logged: what each logger writes is read back with its own package."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from cnn.loggers.base import Logger, flat
from cnn.loggers.loggers import Loggers
from cnn.reporting.metrics_csv import read_history
from cnn.training.loop import Trainer
from commands.small import QUICK
from foundation.errors import UserError
from foundation.extras import install_command

ROOT = Path(__file__).resolve().parents[2]
FAST = (*QUICK, "baselines.logistic_regression_up_to=0")
FIGURES = {"learning_curves", "confusion_matrix", "predictions"}
PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}

# Other people's packages, with their own warnings.
pytestmark = pytest.mark.filterwarnings("default")


def needs(name: str) -> pytest.MarkDecorator:
    missing = find_spec(PACKAGES[name]) is None
    return pytest.mark.skipif(missing, reason=f"{PACKAGES[name]} (the extra `{name}`) is not installed")


def events(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, bytes]]:
    """The curves and images in TensorBoard's files: points by tag, PNG by tag."""
    from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415
    from tensorboardX.record_writer import masked_crc32c  # noqa: PLC0415

    curves: dict[str, list[tuple[int, float]]] = {}
    images = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            content = data[at + 12 : at + 12 + length]
            check = int.from_bytes(data[at + 12 + length : at + 16 + length], "little")
            assert masked_crc32c(content) == check
            event = Event.FromString(content)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    curves.setdefault(value.tag, []).append((event.step, value.simple_value))
                elif value.HasField("image"):
                    images[value.tag] = value.image.encoded_image_string
            at += 16 + length
    return curves, images


@needs("tensorboard")
def test_tensorboard_has_curves_scores_and_figures(command, workplace, real_plots):
    outcome = command("cnn.train", *FAST, "logger=tensorboard", "hydra.run.dir=out")
    assert outcome.status == 0, outcome.err
    history = read_history(workplace / "out/metrics.csv")
    curves, images = events(workplace / "out/tensorboard")
    for tag, key in (("loss/validation", "val_loss"), ("accuracy/train", "train_accuracy"), ("learning_rate",) * 2):
        assert [step for step, _ in curves[tag]] == [1, 2, 3]
        assert [value for _, value in curves[tag]] == pytest.approx([row[key] for row in history])
    ((best, accuracy),) = curves["score/test_accuracy"]
    assert f"{accuracy:.4f}" in outcome.out
    assert history[best - 1]["val_accuracy"] == max(row["val_accuracy"] for row in history)
    assert set(images) == FIGURES
    for name, file in (("learning_curves", "curves.png"), ("confusion_matrix", "confusion_matrix.png")):
        with Image.open(io.BytesIO(images[name])) as logged, Image.open(workplace / "out" / file) as own:
            assert logged.convert("RGB").tobytes() == own.convert("RGB").tobytes()


@needs("tensorboard")
def test_a_resumed_run_goes_on_in_its_curves(command, workplace, monkeypatch):
    validate = Trainer._validate

    def interrupt(trainer, *arguments):
        if trainer.epoch == 2:
            raise KeyboardInterrupt
        return validate(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_validate", interrupt)
    # Files are named by the second, and both runs begin in the same.
    clock = SimpleNamespace(time=lambda: 1_700_000_000.0, sleep=time.sleep)
    monkeypatch.setattr("tensorboardX.event_file_writer.time", clock)
    options = (*FAST, "trainer.epochs=4", "logger=[tensorboard]", "logger.tensorboard.folder=a b", "hydra.run.dir=out")
    assert command("cnn.train", *options).status == 130
    monkeypatch.setattr(Trainer, "_validate", validate)
    shutil.copytree(workplace / "out", workplace / "of a stranger")
    outcome = command("cnn.train", "resume=out", "logger=tensorboard", "logger.tensorboard.folder=a b")
    assert outcome.status == 0, outcome.err
    curves, _ = events(workplace / "a b/out")
    assert [step for step, _ in curves["loss/train"]] == [1, 2, 3, 4]

    before = sorted((workplace / "a b").rglob("*"))
    assert command("cnn.train", "resume='of a stranger'").status == 0
    assert sorted((workplace / "a b").rglob("*")) == before  # a run's folder does not say where it is logged to


def logged_run(folder: Path, *options: str) -> str:
    """A run in a process of its own: these packages start threads and processes."""
    done = subprocess.run(
        [sys.executable, "-m", "cnn.train", *FAST, *options, "hydra.run.dir=out"], cwd=folder, capture_output=True,
        text=True, check=False, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the run goes on" not in done.stdout
    return done.stdout


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_has_options_curves_scores_and_figures(workplace):
    import mlflow  # noqa: PLC0415

    logged_run(workplace, "logger=mlflow", "logger.mlflow.experiment=it's")
    history = read_history(workplace / "out/metrics.csv")
    client = mlflow.MlflowClient(tracking_uri="sqlite:///mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("it's").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["trainer.epochs"] == "3"
    assert run.data.params["model.widths"] == "[4, 8]"
    points = client.get_metric_history(run.info.run_id, "val_accuracy")
    expected = [(row["epoch"], row["val_accuracy"]) for row in history]
    assert [(point.step, point.value) for point in points[:3]] == expected
    assert "test_accuracy" in run.data.metrics
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"curves.png", "confusion_matrix.png", "predictions.png"}


@pytest.mark.slow
@needs("wandb")
@needs("tensorboard")
def test_wandb_offline_beside_tensorboard(workplace):
    logged_run(workplace, "logger=[tensorboard,wandb]", "logger.wandb.mode=offline")
    (run,) = (workplace / "out/wandb").glob("offline-run-*")
    (content,) = run.glob("*.wandb")
    data = content.read_bytes()
    for word in (b"val_accuracy", b"test_accuracy", b"learning_rate"):
        assert word in data
    images = {path.name.rpartition("_")[0].rstrip("_0123456789") for path in (run / "files/media/images").iterdir()}
    assert images == FIGURES
    curves, _ = events(workplace / "out/tensorboard")
    assert len(curves["loss/train"]) == 3


@pytest.mark.parametrize("name", PACKAGES)
def test_a_logger_without_its_package_says_what_to_install_before_any_work(command, workplace, monkeypatch, name):
    class Missing:
        def find_spec(self, module, *_):
            if module.partition(".")[0] == PACKAGES[name]:
                raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    for module in [module for module in sys.modules if module.partition(".")[0] == PACKAGES[name]]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    assert install_command(name) in command("cnn.train", *FAST, f"logger={name}").error
    assert not (workplace / "packs").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("logger=tensorbord",), "did you mean 'tensorboard'?"),
        (("logger=wandb", "logger.wandb.mode=quiet"), "logger.wandb.mode is 'quiet'; choose online, offline, disabled"),
        (("logger=tensorboard", "logger.tensorboard.dir=x"), "logger.tensorboard.dir"),
    ],
)
def test_a_wrong_logger_is_named(command, workplace, options, words):
    assert words in command("cnn.train", *FAST, *options).error


def test_nothing_is_imported_unless_it_is_chosen():
    names = {*PACKAGES.values(), "optuna", "submitit", "ray"}
    line = (
        "import sys, cnn.train; from hydra.core.plugins import Plugins; Plugins.instance(); "
        f"assert any('cnn_from_scratch' in name for name in sys.modules); print(sys.modules.keys() & {names})"
    )
    done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- loggers that fail -----------------------------------------------------------------------------------------------


class Recorder(Logger):
    """Keeps what it is told; raises in the method `broken`."""

    def __init__(self, name: str, broken: str = "") -> None:
        self.name, self.broken, self.told = name, broken, []

    def _told(self, what, *rest):
        self.told.append((what, *rest))
        if what == self.broken:
            raise OSError("no connection\nat all")

    def begin(self, run):
        self._told("begin", run.epoch, run.known_as)
        return f"{self.name}-1"

    def epoch(self, row):
        self._told("epoch", row["epoch"])

    def end(self, scores, figures, epoch):
        self._told("end", epoch)

    def close(self, state):
        self._told("close", state)


@pytest.mark.parametrize("broken", ["epoch", "end", "close"])
def test_a_logger_that_fails_is_dropped_and_the_run_goes_on(tmp_path, capsys, broken):
    one, other = Recorder("one", broken), Recorder("other")
    (tmp_path / "metrics.json").write_text('{"best_epoch": 2, "test_accuracy": 0.5}')
    loggers = Loggers([one, other])
    with loggers.following(tmp_path, {}):
        loggers.epoch({"epoch": 1})
        loggers.epoch({"epoch": 2})
        loggers.end(tmp_path)
    assert other.told == [("begin", 0, None), ("epoch", 1), ("epoch", 2), ("end", 2), ("close", "finished")]
    assert [told for told in one.told if told[0] == broken] == one.told[-1:]
    assert capsys.readouterr().out == "logger=one stops, the run goes on: OSError: no connection at all\n"


def test_a_logger_that_cannot_begin_stops_the_run_and_closes_the_others(tmp_path):
    one, other = Recorder("one"), Recorder("other", "begin")
    with pytest.raises(UserError, match="logger=other cannot begin"), Loggers([one, other]).following(tmp_path, {}):
        raise AssertionError("the training has begun")
    assert one.told[-1] == ("close", "failed")


@pytest.mark.parametrize(("raised", "state"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")])
def test_the_state_of_a_run_that_ends_early(tmp_path, raised, state):
    logger = Recorder("one")
    with pytest.raises(raised), Loggers([logger]).following(tmp_path, {}):
        raise raised
    assert logger.told[-1] == ("close", state)


def test_a_resumed_run_is_found_again_and_a_new_one_is_not(tmp_path):
    for epoch, known in ((0, None), (3, "one-1"), (0, None)):
        logger = Recorder("one")
        with Loggers([logger]).following(tmp_path, {}, epoch):
            pass
        assert logger.told[0] == ("begin", epoch, known)


@pytest.mark.parametrize("record", ['{"one": "../../etc"}', '{"one": 5}', "[1]", "{", '{"one": "a b"}', '{"one": ""}'])
def test_a_strange_record_of_ids_is_ignored(tmp_path, record):
    (tmp_path / "loggers.json").write_text(record)
    logger = Recorder("one")
    with Loggers([logger]).following(tmp_path, {}, 2):
        pass
    assert logger.told[0] == ("begin", 2, None)


def test_options_have_their_full_names():
    config = {"seed": 0, "model": {"name": "x", "layers": [{"conv2d": 4}]}, "empty": {}, "none": None}
    assert flat(config) == {
        "seed": 0, "model.name": "x", "model.layers": [{"conv2d": 4}], "empty": {}, "none": None,
    }  # fmt: skip
