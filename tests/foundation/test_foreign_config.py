"""A folder of `--config-dir` from a stranger sets options, and runs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.config import load_group
from foundation.errors import UserError
from foundation.foreign_config import check_foreign

GLOBAL = "# @package _global_\n"
REFUSED = {
    "experiment/environment": GLOBAL + "hydra: {job: {env_set: {X: '1'}}}\n",
    "experiment/callback": GLOBAL + "hydra: {callbacks: {x: {_target_: os.system, command: echo}}}\n",
    "experiment/target": GLOBAL + "trainer: {_target_: os.system}\n",
    "experiment/listed_target": GLOBAL + "model: {layers: [{_target_: os.system}]}\n",
    "experiment/searchpath": GLOBAL + "hydra: {searchpath: ['file:///tmp']}\n",
    "experiment/place": GLOBAL + "hydra: {run: {dir: /tmp/x}}\n",
    "experiment/sweeper": GLOBAL + "hydra: {sweeper: {_target_: os.system}}\n",
    "experiment/sweeper_too": GLOBAL + "hydra: {sweeper: {params: {}, x: 1}}\n",
    "experiment/null": GLOBAL + "hydra: null\n",
    "experiment/package": "# @package hydra.job\nenv_set: {X: '1'}\n",
    "experiment/global_package": "#@package _global_.hydra.job\nenv_set: {X: '1'}\n",
    "hydra/launcher/own": "x: 1\n",
    "hydra/job_logging/own": "handlers: {file: {mode: w}}\n",
    "experiment/launcher": GLOBAL + "defaults: [override /hydra/launcher: joblib]\n",
    "experiment/into_hydra": GLOBAL + "defaults: [/model@hydra.job: lenet]\n",
    "experiment/outside": GLOBAL + "defaults: [../../../x]\n",
    "experiment/schema": GLOBAL + "defaults: ['file:/tmp/x']\n",
    "experiment/anchor": GLOBAL + "trainer: &a {epochs: 1}\nx: *a\n",
    "experiment/tag": GLOBAL + "trainer: !!python/object/apply:os.getcwd []\n",
    "experiment/a_list": GLOBAL + "- trainer\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_config_that_could_run_something_is_refused(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(REFUSED[name])
    with pytest.raises(UserError) as refusal:
        check_foreign(path, name)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        GLOBAL + "defaults: [override /model: vgg_small, override /optimizer: sgd]\ntrainer: {epochs: 3}\n",
        GLOBAL + "hydra: {sweeper: {params: {seed: '0,1,2'}}}\n",
        "name: own\nlayers: [flatten, {dense: {units: '${data.image_size}'}}]\n",
        "",
    ],
)
def test_a_config_of_options_is_not(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    check_foreign(path, "experiment/x")


@pytest.mark.parametrize("how", ["--config-dir", "--config-path"])
def test_the_command_refuses_it_before_hydra_does_anything(tmp_path, how):
    (tmp_path / "configs/experiment").mkdir(parents=True)
    marker = tmp_path / "MARKER"
    made = f"{{_target_: pathlib.Path.mkdir, self: {{_target_: pathlib.Path, _args_: ['{marker}']}}}}"
    hostile = f"hydra: {{callbacks: {{x: {made}}}}}\n"
    (tmp_path / "configs/experiment/e.yaml").write_text(GLOBAL + hostile)
    (tmp_path / "configs/config.yaml").write_text(hostile)
    done = subprocess.run(
        [sys.executable, "-m", "cnn.summary", f"{how}={tmp_path / 'configs'}", "+experiment=e", "--config-name=config"],
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "error:" in done.stderr
    assert not marker.exists()


def test_anchors_of_a_model_file_are_refused_from_python_too(tmp_path):
    (tmp_path / "m.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\n")
    with pytest.raises(UserError, match="anchors"):
        load_group(tmp_path / "m.yaml", "model")
