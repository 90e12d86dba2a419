"""From composed options to a trainer: what the options say reaches the part that it is about."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from cnn.assembly import trainer_of
from cnn.training.progress import Progress
from foundation.config import config_dir
from foundation.errors import UserError

CLASSES = "data.classes=[left,right,middle]"


@pytest.fixture
def assembled(ops, pack, tmp_path):
    """A trainer of the pack by overrides of `conf/config.yaml`."""

    def make(*overrides):
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            given = ["data=toy_faces", "data.image_size=8", CLASSES, "schedule=constant", "augment=none", *overrides]
            config = compose("config", overrides=given)
        return trainer_of(config, pack, ops, tmp_path / "run")

    return make


NETWORK = "model={name: tiny, layers: [flatten, {dense: 5}, batch_norm, {dense: classes}]}"
STEP = (NETWORK, "optimizer=sgd", "optimizer.momentum=0", "optimizer.weight_decay=0", "optimizer.learning_rate=1")


def moved(trainer, pack):
    """How far one step of the whole training split moves the parameters."""
    before = trainer.model.values.flat.copy()
    with Progress(False, False) as progress:
        trainer.fit(pack.splits["train"], None, progress)
    assert trainer.step == 1
    return np.linalg.norm(trainer.model.values.flat - before)


def test_clip_norm_bounds_the_step(assembled, pack):
    one_step = (*STEP, "trainer.epochs=1", "trainer.batch_size=90")
    free = moved(assembled(*one_step), pack)
    assert free > 0.2
    assert moved(assembled(*one_step, "trainer.clip_norm=0.125"), pack) == pytest.approx(0.125, rel=1e-4)
    assert moved(assembled(*one_step, f"trainer.clip_norm={2 * free}"), pack) == free


@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_clip_norm_without_sense_is_refused(assembled, limit):
    with pytest.raises(UserError, match=r"^trainer\.clip_norm must be above 0, or null for none") as caught:
        assembled(*STEP, f"trainer.clip_norm={limit}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch_size", [88, 90, 91, 5000])
def test_a_step_takes_at_most_all_training_images(assembled, pack, batch_size):
    schedule = ("schedule=cosine", "schedule.warmup=0", "trainer.epochs=2")
    trainer = assembled(*STEP, *schedule, f"trainer.batch_size={batch_size}")
    with Progress(False, False) as progress:
        trainer.fit(pack.splits["train"], None, progress)
    assert trainer.step == (4 if batch_size < 90 else 2)
    assert trainer.schedule.learning_rate(trainer.step + 1) == 0  # it spans the steps that there are
    said = [note for note in trainer.notes if "90" in note]
    assert len(said) == (batch_size > 90)
    assert all(f"trainer.batch_size={batch_size}" in note for note in said)


def test_the_schedule_spans_all_steps_of_the_run(assembled):
    trainer = assembled(*STEP, "schedule=cosine", "schedule.warmup=0", "trainer.epochs=3", "trainer.batch_size=40")
    rates = [trainer.schedule.learning_rate(step) for step in (1, 9, 10)]  # 3 epochs of 3 batches, and one step more
    assert rates[0] == 1
    assert 0 < rates[1] < 0.05
    assert rates[2] == 0


def test_the_checkpoints_say_how_to_scale_pixels(assembled, pack):
    trainer = assembled(*STEP, "trainer.pixels=standardize")
    images = pack.splits["train"].images.astype(float)
    assert trainer.metadata["pixel_scale"] == pytest.approx([1 / images.std()])
    assert trainer.metadata["pixel_offset"] == pytest.approx([-images.mean() / images.std()])
    assert trainer.metadata["classes"] == ["left", "right", "middle"]
