from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cnn.assembly import GROUPS as TYPES
from cnn.assembly import RunSettings, groups, model_of, ops_of, optimizer_settings
from cnn.backends import gpu_missing
from cnn.loggers.settings import LoggerSettings
from cnn.training.batches import AugmentSettings
from cnn.training.loop import TrainerSettings
from cnn.training.optimizers import build_optimizer
from cnn.training.schedules import ScheduleSettings, build_schedule
from data_tools.config import load
from foundation.config import config_dir, typed
from foundation.text_yaml import read_with

GROUPS = ("data", "merge", "augment", "model", "optimizer", "schedule", "trainer", "backend", "logger", "experiment")
CHOICES = [f"{group}={path.stem}" for group in GROUPS for path in sorted((config_dir() / group).glob("*.yaml"))]
FOUND_OUT = ("data.path=pets", "data.name=pets", "data.root=.", "data.image_size=32", "data.channels=3",
             "data.classes=[cat,dog]", "data.sources={pets: {kind: files, stem: pets}}")  # fmt: skip
NEEDS_DATA = {
    "merge=fer2013_governs": ("data=fer2013_fed",),  # it names a source
    "data=folder": FOUND_OUT,  # null until the folder is looked at
}
NEEDS_GPU = pytest.mark.skipif(gpu_missing() is not None, reason=f"{gpu_missing()}")


def composed(*overrides):
    read_with(groups(*TYPES, top=RunSettings))  # as cnn.train, whatever command ran in this process before
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize(
    "choice", [pytest.param(choice, marks=NEEDS_GPU if choice == "backend=cupy" else ()) for choice in CHOICES]
)
def test_every_config_composes_to_something_that_can_be_built(choice):
    config = composed(choice, *NEEDS_DATA.get(choice, ()))
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    load(config)
    optimizer = build_optimizer(optimizer_settings(config), model_of(config, ops_of(config)))
    build_schedule(typed(config, "schedule", ScheduleSettings), optimizer.learning_rate, 100)
    typed(config, "trainer", TrainerSettings)
    typed(config, "augment", AugmentSettings)


def test_every_config_explains_itself():
    for path in config_dir().rglob("*.yaml"):
        assert path.read_text().lstrip().startswith("#"), path


def test_the_small_recipe_has_at_most_a_million_parameters():
    config = composed("experiment=fer_small", "backend=cpu")
    assert 900_000 < model_of(config, ops_of(config)).parameter_count <= 1_000_000


def test_several_loggers_are_chosen_as_a_list():
    config = composed("logger=[tensorboard,wandb]", "logger.wandb.mode=offline")
    settings = typed(config, "logger", LoggerSettings)
    assert settings.tensorboard is not None
    assert settings.mlflow is None
    assert settings.wandb.mode == "offline"
    assert typed(composed(), "logger", LoggerSettings) == LoggerSettings()


def test_an_experiment_wins_over_the_groups_and_the_command_line_over_it():
    config = composed("experiment=baseline")
    assert config.model.name == "baseline"
    assert config.data.name == "fer2013_fed"
    assert config.optimizer.learning_rate == pytest.approx(1e-4)
    assert config.optimizer.eps == pytest.approx(1e-7)
    assert config.trainer.class_weights == "balanced"
    assert config.trainer.epochs == 50
    assert config.schedule.name == "plateau"
    assert config.merge.balance.target == 7000
    changed = composed("experiment=baseline", "trainer.epochs=2", "data=fer2013", "model=lenet")
    assert changed.trainer.epochs == 2
    assert changed.data.name == "fer2013"
    assert changed.model.name == "lenet"


def test_a_data_set_chooses_its_merge_and_the_command_line_overrides_it():
    assert composed("data=fer2013").merge.thin == ["train"]
    assert composed("data=fer2013", "merge=predecessor_sizes").merge.balance.target == 7000
    assert composed("data=fer2013_fed").merge.governs == "fer2013"
    assert composed("data=fer2013_fed", "merge=as_published").merge.within_split
    assert composed("data=toy_faces").merge.balance.target == 500


def test_widths_are_set_from_the_command_line():
    config = composed("model=vgg_small", "model.widths=[8,8,8,8]", "model.depth=1")
    model = model_of(config, ops_of(config))
    weights = model.state()
    assert weights["conv2d_4.weight"].shape == (3, 3, 8, 8)
    assert "conv2d_5.weight" not in weights
