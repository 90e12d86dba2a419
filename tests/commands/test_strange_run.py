"""A run's folder from a stranger: whatever it records, `cnn.train resume=` and the commands that read it run nothing.

Each attack would write `MARKER`, or change a file of the victim. A folder whose config is as it should be resumes, and
what its other records say has no effect; a folder whose config is not that of a run is refused in one line.
"""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from cnn.resume import resumed_config
from cnn.train import main as train
from cnn.training.loop import Trainer
from commands.small import QUICK, write_faces
from foundation.errors import UserError
from foundation.strict_yaml import read_yaml

VARIABLE = "CNN_TEST_OF_RESUME"
NOTES = "what the victim wrote"


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A folder with `data/`, `packs/`, the interrupted run `run` and the finished run `done`."""
    place = tmp_path_factory.mktemp("begun")
    write_faces(place / "data" / "fer2013")
    fit = Trainer.fit

    def stop() -> None:
        raise KeyboardInterrupt

    with chdir(place), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cnn/train.py", *QUICK, "hydra.run.dir=done"])
        patch.setattr("cnn.train._finish", lambda *_: None)
        train()
        patch.setattr(Trainer, "fit", lambda trainer, *rest: fit(trainer, *rest[:3], stop))
        patch.setattr(sys, "argv", ["cnn/train.py", *QUICK, "hydra.run.dir=run"])
        with pytest.raises(SystemExit):
            train()
    return place


@pytest.fixture
def place(begun, tmp_path, monkeypatch) -> Path:
    """A copy of it, the current folder, with a file of the victim and a program that leaves a mark."""
    shutil.copytree(begun, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("cnn.train._finish", lambda *_: None)  # the plots of a run take most of its time
    Path("notes.txt").write_text(NOTES)
    program = Path("bin/git")
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho ran > {tmp_path / 'place' / 'MARKER'}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return tmp_path / "place"


class Marks:
    """Unpickling it writes the marker."""

    def __reduce__(self):
        return os.system, ("echo ran > MARKER",)


def untouched() -> bool:
    return not Path("MARKER").exists() and Path("notes.txt").read_text() == NOTES and VARIABLE not in os.environ


def folders() -> set[str]:
    return {str(path) for path in Path().resolve().parent.rglob("*") if path.is_dir() and "place/run" not in str(path)}


# What was recorded as overrides, or as options of Hydra, before: nothing reads it as such any more.
OVERRIDES = [
    ["+hydra.job.env_set.GIT_CONFIG_COUNT='1'", "+hydra.job.env_set.GIT_CONFIG_KEY_0=core.fsmonitor",
     "+hydra.job.env_set.GIT_CONFIG_VALUE_0={place}/bin/git"],
    ["hydra.job.env_set.PATH={place}/bin"],
    [f"+hydra.job.env_set.{VARIABLE}=1"],
    ["--experimental-rerun=x.pickle"],
    ["--config-dir={place}/configs", "experiment=e"],
    ["--config-dir={place}/configs", "+hydra/launcher=own"],
    ["experiment=../../../../../../../../../../../../{place}/configs/experiment/e"],
    ["+experiment=file:{place}/configs/experiment/e"],
    ["hydra/job_logging=default", "hydra.job_logging.handlers.file.mode=w",
     "hydra.job_logging.handlers.file.filename={place}/notes.txt"],
    ["+hydra.callbacks.x={{_target_: os.system, command: 'echo ran > MARKER'}}"],
    ["hydra.sweeper._target_=os.system", "--multirun"],
    ["hydra.run.dir={place}"],
    ["hydra.searchpath=[file://{place}/configs]", "experiment=e"],
    ["model@hydra.job=lenet"],
    ["data.name=${{oc.env:HOME}}"],
    ["seed=5"],
    ["seed", "=", "1"],
]  # fmt: skip


@pytest.mark.parametrize("lines", [OVERRIDES[0], [line for each in OVERRIDES for line in each]], ids=["git", "all"])
def test_what_is_recorded_beside_the_config_has_no_effect(command, place, lines):
    hostile = {"hydra": {"job": {"env_set": {VARIABLE: "1", "PATH": f"{place}/bin"}}}, "seed": 5}
    configs = place / "configs" / "experiment"
    configs.mkdir(parents=True)
    (configs / "e.yaml").write_text("# @package _global_\n" + yaml.safe_dump(hostile))
    (place / "configs/hydra/launcher").mkdir(parents=True)
    (place / "configs/hydra/launcher/own.yaml").write_text("_target_: os.system\ncommand: echo ran > MARKER\n")
    Path("x.pickle").write_bytes(pickle.dumps(Marks()))
    Path("run/.hydra/overrides.yaml").write_text(yaml.safe_dump([line.format(place=place) for line in lines]))
    Path("run/.hydra/hydra.yaml").write_text(yaml.safe_dump(hostile))
    before = Path("run/.hydra/config.yaml").read_bytes()
    outcome = command("cnn.train", "resume=run")
    assert outcome.status == 0, outcome.err
    assert "resumed after epoch 1" in outcome.out
    assert untouched()
    assert Path("run/.hydra/config.yaml").read_bytes() == before


def changed(change) -> None:
    path = Path("run/.hydra/config.yaml")
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def put(keys: str, value: object):
    """A change that sets the option `keys`."""

    def change(content):
        *above, last = keys.split("/")
        for key in above:
            content = content.setdefault(key, {})
        content[last] = value

    return change


# A change of the recorded config, and a word of the refusal.
CONFIGS = [
    (put("hydra", {"job": {"env_set": {VARIABLE: "1"}}}), "hydra"),
    (put("hydra/callbacks", {"x": {"_target_": "os.system", "command": "echo ran > MARKER"}}), "hydra"),
    (put("defaults", ["/experiment: e"]), "defaults"),
    (put("_target_", "os.system"), "_target_"),
    (put("experiment", "../../x"), "experiment"),
    (put("trainer/_target_", "os.system"), "_target_"),
    (put("optimizer/_target_", "os.system"), "_target_"),
    (put("merge/../x", 1), "there is no option"),
    (put("a/../merge", 1), "'a'"),
    (put("optimizer/name", "../../x"), "optimizer.name"),
    (put("data/name", "../../x"), "data.name"),
    (put("data/name", "/tmp/x"), "data.name"),
    (put("data/name", "..\\x"), "data.name"),
    (put("data/name", "${oc.env:HOME}"), "oc.env"),
    (put("data/root", "a ${oc.env:HOME}"), "oc.env"),
    (put("data/sources/fer2013", "${hydra:runtime.cwd}"), "hydra:"),
    (put("data/root", "${now:%Y}"), "now:"),
    (put("data/root", "${oc.decode:'1'}"), "oc.decode"),
    (put("data/root", r"\${oc.env:HOME}"), "oc.env"),
    (put("data/root", "${${seed}.env:HOME}"), "env"),
    (put("data/root", "${data.sources}"), "data.sources"),  # would copy a mapping; of copies of copies there is no end
    (put("data/root", "${data.root}"), "Recursive"),
    (put("data/root", "${oc.env:HOME}x"), "oc.env"),
    (put("data/${oc.env:HOME}", "x"), "oc.env"),
    (put("model", "lenet"), "model"),
    (put("seed", "__import__('os').system('echo ran > MARKER')"), "seed"),
    (put("backend/library", "bin/git"), "backend.library"),
    (put("trainer/epochs", {"a": 1}), "trainer.epochs"),
    (put("trainer", None), "trainer"),
    (put("data", ["x"]), "data"),
    (lambda content: content.pop("optimizer"), "optimizer"),
    (lambda content: content.clear(), "data"),
]


@pytest.mark.parametrize(("change", "word"), CONFIGS, ids=[str(number) for number in range(len(CONFIGS))])
def test_a_config_that_is_not_that_of_a_run_is_refused_in_one_line(place, change, word):
    changed(change)
    with pytest.raises(UserError) as refusal:
        resumed_config(OmegaConf.create({"resume": "run"}), [])
    assert word in str(refusal.value)
    assert "config.yaml" in str(refusal.value)
    assert untouched()


@pytest.mark.parametrize(("change", "word"), [CONFIGS[0], CONFIGS[10], CONFIGS[24]])
def test_the_command_refuses_it_before_anything_is_written(command, place, change, word):
    changed(change)
    before = folders()
    error = command("cnn.train", "resume=run").error
    assert word in error, error
    assert untouched()
    assert folders() == before


TEXTS = {
    "tag": "data: !!python/object/apply:os.system ['echo ran > MARKER']\n",
    "path tag": "data: !!python/object/apply:pathlib.Path [x]\n",
    "own tag": "data: !x y\n",
    "anchors": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "anchor alone": "seed: &a 1\n",
    "recursion": "data: &a [*a]\n",
    "merge of itself": "data: &a {<<: *a}\n",
    "two documents": "seed: 1\n---\nseed: 2\n",
    "no yaml": "seed: [1\n",
    "deep": "seed: " + "[" * 9999,
    "deep by indentation": "".join(f"{' ' * n}a:\n" for n in range(200)),
    "long": "seed: 1 #" + "x" * 2_000_000,
    "long number": "seed: " + "9" * 10_000,
    "twice": "seed: 1\nseed: 2\n",
    "a list as key": "? [a]\n: 1\n",
    "null byte": "seed: a\x00b\n",
}


@pytest.mark.parametrize("text", TEXTS)
def test_yaml_that_is_no_plain_data_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(TEXTS[text])
    with pytest.raises(UserError) as refusal:
        read_yaml(path)
    assert str(path) in str(refusal.value)


def test_another_encoding_and_what_is_no_file_are_refused_in_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"seed: \xff\xfe\n")
    with pytest.raises(UserError, match="UTF-8"):
        read_yaml(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="no file"):
        read_yaml(path)
    path.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)  # reading it would wait for ever
        with pytest.raises(UserError, match="no file"):
            read_yaml(path)


def test_a_size_and_a_depth_below_the_limits_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: [[[1]]]")
    assert read_yaml(path, largest=10, deepest=4) == {"a": [[[1]]]}
    with pytest.raises(UserError, match="more than 9 bytes"):
        read_yaml(path, largest=9)
    with pytest.raises(UserError, match="deeper than 3"):
        read_yaml(path, deepest=3)


@pytest.mark.parametrize(
    ("module", "where"),
    [
        ("cnn.train", "{elsewhere}"),
        ("cnn.train", "run/../../elsewhere"),
        ("cnn.evaluate", "../elsewhere"),
        ("cnn.compare", "~/elsewhere"),
    ],
)
def test_no_command_writes_where_the_config_of_a_run_points(command, place, monkeypatch, module, where):
    """The pack is gone: it is written anew where the person's own options say, not where the run's do."""
    elsewhere = place.parent / "elsewhere"
    monkeypatch.setenv("HOME", str(place.parent))
    shutil.rmtree("packs")
    for run in ("run", "done"):
        path = Path(run) / ".hydra/config.yaml"
        content = yaml.safe_load(path.read_text())
        content["data"]["pack_dir"] = where.format(elsewhere=elsewhere)
        path.write_text(yaml.safe_dump(content))
    shutil.copytree("done", "other")
    arguments = {"cnn.train": ["resume=run"], "cnn.evaluate": ["run=done"], "cnn.compare": ["run=[done,other]"]}
    outcome = command(module, *arguments[module])
    assert outcome.status == 0, outcome.err
    assert not elsewhere.exists()
    assert len(list(Path("packs").glob("fer2013-*"))) == 1


def test_a_pack_is_still_found_where_the_config_of_a_run_says(command, place):
    Path("packs").rename(place.parent / "elsewhere")
    for run in ("run", "done"):
        path = Path(run) / ".hydra/config.yaml"
        content = yaml.safe_load(path.read_text())
        content["data"]["pack_dir"] = str(place.parent / "elsewhere")
        path.write_text(yaml.safe_dump(content))
    shutil.rmtree("data")
    assert command("cnn.evaluate", "run=done").status == 0
    assert command("cnn.train", "resume=run").status == 0
    assert not Path("packs").exists()


def test_a_link_in_the_folder_is_replaced_and_not_followed(command, place):
    for name in ("checkpoint.last.safetensors", "model.best.safetensors"):
        path = Path("run") / name
        kept = path.read_bytes()
        Path("victim-" + name).write_bytes(kept)
        path.unlink()
        path.symlink_to(place / ("victim-" + name))
    Path("done/evaluation_validation.json").symlink_to(place / "notes.txt")
    before = {path: path.read_bytes() for path in place.glob("victim-*")}
    assert command("cnn.train", "resume=run").status == 0
    assert command("cnn.evaluate", "run=done").status == 0
    assert {path: path.read_bytes() for path in before} == before
    assert untouched()


@pytest.mark.parametrize(
    "given", ["experiment=baseline", "+experiment=baseline", "~schedule", "model@data=lenet", "-m"]
)
def test_what_would_compose_another_config_is_refused_with_resume(command, place, given):
    assert "resume" in command("cnn.train", "resume=run", given).error


def test_options_that_may_change_are_taken(command, place):
    Path("packs").rename("moved")
    shutil.rmtree("data")
    given = ("data.pack_dir=moved", "backend=numpy", "baselines.logistic_regression_up_to=0", "data.workers=1")
    outcome = command("cnn.train", "resume=run", *given)
    assert outcome.status == 0, outcome.err
    assert not Path("packs").exists()
