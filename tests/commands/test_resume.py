"""`resume=FOLDER` of an untrusted folder: recorded overrides can only set options and select configs of the project."""

from __future__ import annotations

import os
from pathlib import Path

import hydra
import pytest
import yaml

from cnn.resume import run_arguments
from cnn.training.loop import Trainer
from commands.small import QUICK
from foundation.errors import UserError

VARIABLE = "CNN_TEST_OF_RESUME"


def write_record(folder: Path, lines: object) -> Path:
    """A folder that looks like an interrupted run with `lines` as its recorded overrides."""
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint.last.safetensors").write_bytes(b"")
    (folder / ".hydra" / "overrides.yaml").write_text(lines if isinstance(lines, str) else yaml.safe_dump(lines))
    return folder


REFUSED = {
    "is an option": [
        "--config-dir=/tmp/elsewhere",
        "--config-path=/tmp/elsewhere",
        "-cn=other",
        "--experimental-rerun=x.pickle",
        "--multirun",
        "-m",
        "--",
    ],
    "configures Hydra": [
        f"+hydra.job.env_set.{VARIABLE}=1",
        f"++hydra.job.env_set.{VARIABLE}=1",
        f"hydra.job.env_set={{{VARIABLE}: 1}}",
        f"hydra={{job: {{env_set: {{{VARIABLE}: 1}}}}}}",
        f"+hydra={{job: {{env_set: {{{VARIABLE}: 1}}}}}}",
        "~hydra",
        "~hydra.callbacks",
        "hydra/job_logging=default",
        "+hydra/launcher=joblib",
        "override@hydra.job=x",
        "+model@hydra.job.env_set=lenet",
        "+model@_global_.hydra.job=lenet",
        "hydra.searchpath=[file:///tmp/elsewhere]",
        "hydra.run.dir=elsewhere",
        "Hydra/launcher=joblib",
    ],
    "calls a resolver": [
        "data.name=${oc.env:HOME}",
        "data.name=${hydra:runtime.cwd}",
        "data.name='a ${oc.env:HOME}'",
        "model.widths=[4,'${oc.env:HOME}']",
        "model={name: '${oc.env:HOME}'}",
        "data.name=${now:%Y}",
        "data.name='${${seed}.env:HOME}'",
        r"data.name=$\{oc.env\:HOME\}",
    ],
    "from outside conf/": [
        "experiment=../../../../x",
        "experiment=..",
        "experiment=/tmp/x",
        "+experiment=a/b",
        "model='../x'",
        "experiment=[baseline,../x]",
        "data@merge=../x",
        "merge=file:x",
        r"model=..\\x",
        "model=${data.name}",
        "model/lenet=../x",
    ],
    "names no option": ["=../x", "@data=../x"],
    "is a sweep": ["model=lenet,resnet9", "seed=range(3)", "model=glob(*)", "model=choice(../x,lenet)"],
    "is no override": ["", "seed", "se ed=1", "seed=[", " seed=1", "seed=1\n--multirun", "+-x=1", "a=" + "[" * 9999],
    "is no text": [1, 1.5, True, None, {"seed": 1}, ["seed=1"]],
}


@pytest.mark.parametrize(("reason", "line"), [(reason, line) for reason, lines in REFUSED.items() for line in lines])
def test_a_recorded_line_that_may_do_more_than_set_an_option_is_refused_before_hydra_reads_anything(
    command, tmp_path, monkeypatch, reason, line
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)

    def never(*_, **__):
        raise AssertionError("Hydra was started")

    monkeypatch.setattr(hydra._internal.hydra.Hydra, "create_main_hydra2", never)
    write_record(tmp_path / "strange", ["seed=1", line, "trainer.epochs=1"])
    error = command("cnn.train", "resume=strange").error
    assert reason in error
    assert repr(line) in error
    assert str(Path("strange/.hydra/overrides.yaml")) in error
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seed: 1",
        "seed=1",
        "- !!python/object/apply:os.getcwd []",
        "- 'open",
        "- a\x00b",
        "- &a [*a]",
        "1",
        "[" * 9999,
    ],
)
def test_a_record_that_is_no_list_of_lines_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(UserError, match=r"overrides\.yaml") as refusal:
        run_arguments([f"resume={write_record(tmp_path, text)}"])
    assert "\n" not in str(refusal.value)


def test_a_record_in_another_encoding_is_refused(tmp_path):
    write_record(tmp_path, [])
    (tmp_path / ".hydra" / "overrides.yaml").write_bytes(b"- seed=\xff\xfe\n")
    with pytest.raises(UserError, match="cannot be read"):
        run_arguments([f"resume={tmp_path}"])


USUAL = [
    "data.root=/some/path",
    "data.root=../data",
    "data.pack_dir='a folder/b:c'",
    "experiment=baseline_tuned",
    "+experiment=baseline",
    "experiment=null",
    "experiment=[baseline,baseline_tuned]",
    "merge@_global_.merge=default",
    "~schedule",
    "+data.sources.my_faces.stem=../faces",
    "model={name: tiny, layers: [flatten, {dense: {units: 7}}]}",
    "trainer.batch_size=${benchmark.batch}",
    "data.classes=[a:b,c]",
    "trainer.early_stopping=null",
    "optimizer.learning_rate=1e-3",
    "data.name=",
]


@pytest.mark.parametrize("line", USUAL)
def test_a_recorded_line_that_sets_an_option_or_chooses_a_config_is_given_on_as_it_is(tmp_path, line):
    write_record(tmp_path, ["seed=1", line])
    assert run_arguments([f"resume={tmp_path}"])[:2] == ["seed=1", line]


def test_a_given_override_takes_the_place_of_the_recorded_one(tmp_path):
    write_record(tmp_path, ["seed=1", "trainer.epochs=2"])
    arguments = run_arguments([f"resume={tmp_path}", "trainer.epochs=5"])
    assert arguments[:2] == ["seed=1", "trainer.epochs=5"]
    assert "trainer.epochs=2" not in arguments


@pytest.mark.parametrize("job", [None, "0"])
def test_what_hydra_records_of_a_run_or_of_a_job_of_a_sweep_resumes(command, workplace, monkeypatch, job):
    """Hydra's own overrides, such as hydra.run.dir, go to another file, so that the record passes."""

    def stop():
        raise KeyboardInterrupt

    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda trainer, *rest: fit(trainer, *rest[:3], stop))
    options = (*QUICK, f"data.root={workplace / 'data'}", "schedule=cosine")
    if job is None:
        assert command("cnn.train", *options, "hydra.run.dir=out").status == 130
        folder = Path("out")
    else:
        options = (*options, "seed=3,4", "+hydra.job.env_set.CNN_TEST_OF_SWEEP=1")
        assert command("cnn.train", "-m", *options, "hydra.sweep.dir=out").status == 130
        folder = Path("out") / job
    monkeypatch.setattr(Trainer, "fit", fit)
    record = yaml.safe_load((folder / ".hydra/overrides.yaml").read_text())
    assert f"data.root={workplace / 'data'}" in record
    outcome = command("cnn.train", f"resume={folder}")
    assert outcome.status == 0, outcome.err
    assert "resumed after epoch" in outcome.out
