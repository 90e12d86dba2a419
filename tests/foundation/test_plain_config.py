"""The configs as they are read without OmegaConf and Hydra."""

from __future__ import annotations

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from foundation.config import config_dir, load_choice
from foundation.errors import UserError
from foundation.plain_config import compose, parse, read_group, resolved

GROUPS = ("augment", "model", "optimizer", "schedule", "trainer", "backend")
FILES = [(group, path.stem) for group in GROUPS for path in sorted((config_dir() / group).glob("*.yaml"))]
EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
CHOICES = {
    "augment": "flip_shift",
    "model": "lenet",
    "optimizer": "adam",
    "schedule": "one_cycle",
    "trainer": "default",
}


@pytest.mark.parametrize(("group", "name"), FILES)
def test_every_file_is_read_as_omegaconf_reads_it(group, name):
    assert read_group(group, name) == load_choice(group, name)


@pytest.mark.parametrize("experiment", [None, *EXPERIMENTS])
def test_an_experiment_is_composed_as_hydra_composes_it(experiment):
    overrides = [] if experiment is None else [f"experiment={experiment}"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = hydra_compose("config", overrides=overrides)
    expected = OmegaConf.to_container(config, resolve=True)
    found = compose(experiment, **CHOICES)
    assert found == {group: expected[group] for group in CHOICES}


def test_references_see_the_values_that_replace_others():
    assert read_group("model", "lenet", widths=[3, 5])["layers"][0] == {
        "conv2d": {"filters": 3, "kernel": 5, "padding": "same", "bias": False}
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: -2.5e-3 # comment\nc: 'x # y'\nd:\ne: ~\nf: true",
        "a:\n- 1\n- b: 2\n  c: [1, x, {d: 3}]\n-\n  - null\n",
        '- [a, b: "c, d", {e: []}, {}]\n- - 1\n'.replace("- - 1", "- x: 1"),
        "a: ${b.c}\nb: {c: 3.0, d: 1e-4, e: .5, f: 07x}",
    ],
)
def test_texts_are_parsed_as_by_omegaconf(text):
    assert parse(text) == OmegaConf.to_container(OmegaConf.create(text), resolve=False)


@pytest.mark.parametrize("text", ["a: [1,\n  2]", "a: 1\n   b: 2", "just words\nand more", "a: [1] x"])
def test_what_it_cannot_read_is_an_error(text):
    with pytest.raises(UserError, match="OmegaConf"):
        parse(text)


def test_wrong_names_and_references_are_errors():
    with pytest.raises(UserError, match="unknown model 'alexnet'; choose one of: airbench, baseline"):
        read_group("model", "alexnet")
    with pytest.raises(UserError, match="refers to nothing"):
        resolved({"a": "${b.c}"})
    with pytest.raises(UserError, match="more than one"):
        resolved({"a": "x${b}", "b": 1})
