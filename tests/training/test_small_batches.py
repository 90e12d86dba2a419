"""Batch norm behind a dense layer has one value of each channel per image: what a batch of one means there."""

import math

import numpy as np
import pytest

from cnn import Classifier
from cnn.training.loop import steps_of_epoch
from cnn.training.progress import Progress
from foundation.errors import UserError
from training.conftest import LAYERS

NORM_BEHIND_DENSE = ["flatten", {"dense": {"units": 6}}, "batch_norm", "relu", {"dense": {"units": "classes"}}]
NORM_OF_POOLED = [
    {"multiply": {"branches": [["batch_norm"], ["global_avg_pool2d", "batch_norm", "sigmoid"]]}},
    "flatten",
    {"dense": {"units": "classes"}},
]
GROUPS_BEHIND_DENSE = [
    "flatten",
    {"dense": {"units": 6}},
    {"group_norm": {"groups": 2}},
    {"dense": {"units": "classes"}},
]


def run(trainer, pack):
    with Progress() as progress:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    return trainer


@pytest.mark.parametrize("layers", [NORM_BEHIND_DENSE, NORM_OF_POOLED])
@pytest.mark.parametrize(("size", "used"), [(89, 89), (44, 88 + 2), (16, 90), (90, 90), (2, 90)])
def test_a_last_batch_of_one_is_left_out(make_trainer, pack, layers, size, used):
    trainer = make_trainer(layers=layers, batch_size=size)
    sizes = steps_of_epoch(90, size, trainer.model)
    assert (sum(sizes), min(sizes) > 1, max(sizes)) == (used, True, size)


def test_training_goes_on_and_says_so(make_trainer, pack, capsys):
    trainer = run(make_trainer(layers=NORM_BEHIND_DENSE, batch_size=89, epochs=3), pack)
    assert trainer.step == 3  # not 6
    assert trainer.schedule.total_steps == 3
    assert all(math.isfinite(row["train_loss"]) for row in trainer.history)
    assert len(trainer.notes) == 1
    assert trainer.notes[0] in " ".join(capsys.readouterr().out.split())
    assert "batch_norm_1" in trainer.notes[0]


@pytest.mark.parametrize("layers", [LAYERS, GROUPS_BEHIND_DENSE])
@pytest.mark.parametrize("size", [89, 1])
def test_other_networks_use_every_image(make_trainer, pack, layers, size):
    trainer = make_trainer(layers=layers, batch_size=size, epochs=1)
    assert sum(steps_of_epoch(90, size, trainer.model)) == 90
    assert not run(trainer, pack).notes


@pytest.mark.parametrize("layers", [NORM_BEHIND_DENSE, NORM_OF_POOLED])
def test_batches_of_one_are_refused(make_trainer, pack, layers):
    with pytest.raises(UserError, match=r"batch_size is 1, but batch_norm_[12] normalises.*group_norm"):
        make_trainer(layers=layers, batch_size=1)


def test_in_python_too():
    X, y = np.random.default_rng(0).integers(0, 256, (9, 6, 6), np.uint8), np.arange(9) % 2
    model = {"name": "m", "layers": NORM_BEHIND_DENSE}
    fitted = Classifier(model=model, epochs=2, batch_size=4, validation=None, backend="numpy").fit(X, y)
    assert np.isfinite(fitted.predict_proba(X)).all()
    with pytest.raises(UserError, match="batch_norm_1"):
        Classifier(model=model, epochs=2, batch_size=1, validation=None, backend="numpy").fit(X, y)
