"""Folders of runs that were made before the network was a graph: they load, score the same, and go on."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from cnn.assembly import trainer_of
from cnn.finished_run import FinishedRun
from cnn.resume import resumed_config
from cnn.training.inference import loss_and_accuracy, predict_probabilities
from cnn.training.pack import load_pack
from cnn.training.progress import Progress

OLD = Path(__file__).parent / "data" / "run_58607be"
EXPECTED = dict(np.load(OLD / "expected.npz"))
BACKENDS = ("ops", "engine")


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.getfixturevalue(request.param)


def images_and_probabilities(run, backend, batch_size):
    images = load_pack(OLD / "pack", backend).splits["test"].images
    return predict_probabilities(run.model, images, run.batches, batch_size)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("batch_size", [12, 5])
def test_an_old_run_scores_the_same(backend, name, batch_size):
    run = FinishedRun.open(OLD / name, backend)
    found = images_and_probabilities(run, backend, batch_size)
    np.testing.assert_allclose(found, EXPECTED[name], rtol=0, atol=1e-6)
    assert np.ptp(EXPECTED[name], axis=0).min() > 0.1  # the images are told apart
    test = load_pack(OLD / "pack", backend).splits["test"]
    assert loss_and_accuracy(found, test.host_labels)[1] > 0.9


@pytest.mark.parametrize("name", EXPECTED)
def test_the_plan_of_training_scores_the_same_too(backend, name):
    """The network as it is, without folded norms."""
    run = FinishedRun.open(OLD / name, backend)
    test = load_pack(OLD / "pack", backend).splits["test"]
    x = run.batches.plain(test.images, backend.array(np.arange(len(test))))
    found = backend.softmax(run.model.forward(x, False)[0])
    np.testing.assert_allclose(found, EXPECTED[name], rtol=0, atol=1e-6)


def test_an_interrupted_run_goes_on_as_it_would_have_gone_on(backend, tmp_path):
    """Weights, moments, schedule, order, augmentation and dropout masks: the epochs that follow are those that the run
    made then, but for rounding."""
    shutil.copytree(OLD / "baseline", tmp_path / "run")
    config = resumed_config(OmegaConf.create({"resume": str(tmp_path / "run")}), [])  # as `cnn.train resume=`
    pack = load_pack(OLD / "pack", backend)
    trainer = trainer_of(config, pack, backend, tmp_path / "run")
    fresh = trainer.model.state()
    trainer.resume()
    assert (trainer.epoch, trainer.step) == (41, 41 * 3)
    assert all((trainer.model.state()[name] != fresh[name]).any() for name in fresh)
    with Progress() as progress:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    expected = json.loads((OLD / "epochs_after.json").read_text())
    for row, wanted in zip(trainer.history[-len(expected) :], expected, strict=True):
        for key, value in wanted.items():
            assert row[key] == pytest.approx(value, rel=2e-4), (key, row["epoch"])
    # The best epoch lay before the interruption, so its weights are those of the old file.
    best = FinishedRun.open(OLD / "baseline", backend)
    assert trainer.best.epoch == best.epoch == 33
    for name, tensor in best.model.state().items():
        np.testing.assert_array_equal(trainer.model.state()[name], tensor)


def test_the_old_files_name_no_machine():
    for path in OLD.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert not re.search(rb"(?<![\w.])/(home|root|tmp|work|Users)/", text), path
    assert sum(path.stat().st_size for path in OLD.rglob("*") if path.is_file()) < 100_000
