"""A profile has every part of a step once, adds up, and changes nothing of the run."""

import csv

import numpy as np
import pytest

from cnn.assembly import TrainingOptions, new_trainer
from cnn.reporting.profile_files import write_profile
from cnn.training.batches import AugmentSettings
from cnn.training.loop import TrainerSettings
from cnn.training.optimizers import AdamSettings, build_optimizer
from cnn.training.pack import Split
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.profile import profile_step
from cnn.training.schedules import ScheduleSettings
from models.networks import NETWORKS, build

PARTS = ["batch and augmentation", "loss", "update"]


@pytest.fixture
def trainer(ops):
    model = build(ops, NETWORKS["squeeze_excite"], "float32")
    settings = TrainerSettings(batch_size=8)
    options = TrainingOptions(settings, AdamSettings(), ScheduleSettings(), AugmentSettings(flip=True), 0)
    scaling = PixelScaling(np.ones(2, np.float32), np.zeros(2, np.float32))
    return new_trainer(model, 19, scaling, np.ones(3, np.float32), options, None, {})


@pytest.mark.parametrize("count", [19, 8, 5])
def test_every_part_of_a_step_is_measured_once(trainer, rng, count):
    images, labels = rng.integers(0, 256, (count, 7, 6, 2)).astype(np.uint8), np.arange(count) % 3
    before, model = trainer.model.state(), trainer.model
    found = profile_step(
        model,
        lambda copy: build_optimizer(AdamSettings(), copy, None),
        trainer.loss,
        trainer.batches,
        Split("train", images, labels, labels),
        8,
        steps=3,
    )
    names = [part.name for part in found.parts]
    assert sorted(names) == sorted([*map(model.plan.name_of, model.plan.blocks), *PARTS])
    assert names[0] == PARTS[0]
    assert names[-1] == PARTS[-1]
    by_name = {part.name: part for part in found.parts}
    for block in model.plan.blocks:
        assert by_name[model.plan.name_of(block)].forward > 0
        assert by_name[model.plan.name_of(block)].backward > 0
    assert (by_name["loss"].backward, by_name["update"].forward) == (None, None)
    assert found.images == min(count, 8)
    assert found.step > 0
    assert all(np.array_equal(before[name], value) for name, value in model.state().items())
    assert type(model._training).__name__ == "Executor"  # the run's own passes are not measured


def test_the_files_of_a_profile(tmp_path):
    rows = [("conv2d_1 + relu_1", 0.003, 0.005), ("=loss", 0.001, None), ("update", None, 0.001)]
    write_profile(tmp_path, rows, 0.009, 64, "cpu: a machine")
    with (tmp_path / "profile.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["fraction"] for row in found] == ["0.8000", "0.1000", "0.1000"]
    assert (found[0]["forward_ms"], found[1]["backward_ms"]) == ("3.0000", "")
    assert not found[1]["part"].startswith("=")  # a spreadsheet would compute it
    assert (tmp_path / "profile.png").stat().st_size > 5000
