from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.torch_reference import torch_missing
from cnn.backends import gpu_missing

ROOT = Path(__file__).resolve().parents[2]

TINY = (
    "backend=numpy",
    "benchmark.models=[lenet]",
    "benchmark.batch_sizes=[2,3]",
    "benchmark.image_size=12",
    "benchmark.images=8",
    "benchmark.steps=1",
    "benchmark.repeats=1",
    "benchmark.quick=true",
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_command_prints_a_table_and_leaves_two_files(command, tmp_path):
    outcome = command("cnn.benchmark", *TINY, "hydra.run.dir=out")
    assert outcome.status == 0, outcome.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".hydra", "benchmark.json", "benchmark.md"}
    record = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert [(cell["model"], cell["batch"]) for cell in record["cells"]] == [("lenet", 2), ("lenet", 3)]
    assert record["command"].startswith("python -m cnn.benchmark backend=numpy")
    assert {"git", "versions", "started"} <= set(record["provenance"])
    assert all(cell["step"]["images_per_second"] > 0 for cell in record["cells"])
    for word in ("lenet", "images/s", "ceilings", "PyTorch", "out/benchmark.md"):
        assert word in outcome.out
    if not torch_missing():
        assert all(cell["torch"]["same_step"] for cell in record["cells"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["benchmark.models=[alexnet]"], ["alexnet", "baseline", "resnet9"]),
        (["benchmark.models=[]"], ["benchmark.models"]),
        (["benchmark.batch_sizes=[1]"], ["benchmark.batch_sizes", "2"]),
        (["benchmark.repeats=0"], ["benchmark.repeats", "0"]),
        (["benchmark.torch=maybe"], ["benchmark.torch", "maybe", "eager"]),
        (["benchmark.image_size=3"], ["model.layers"]),
        (["optimizer.learning_rate=-1"], ["optimizer.learning_rate"]),
        (["benchmark.speed=9"], ["benchmark.speed"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(command, tmp_path, arguments, words):
    line = command("cnn.benchmark", *TINY, "hydra.run.dir=out", *arguments).error
    for word in words:
        assert word in line
    assert not list(tmp_path.glob("out/benchmark.*"))


def test_help_shows_how(command):
    outcome = command("cnn.benchmark", "--help")
    assert "python -m cnn.benchmark backend=cupy" in outcome.out
    assert "batch_sizes" in outcome.out


@pytest.mark.skipif(gpu_missing() is None, reason="a GPU is there, which would be checked")
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_gpu_check_without_a_gpu_says_so(monkeypatch):
    monkeypatch.chdir(ROOT)  # the message names files from there
    done = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", "gpu-check", f"PYTHON_GPU={sys.executable}", "ARGS="],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    first = done.stderr.splitlines()[0]
    assert done.returncode != 0
    assert done.stdout == ""
    assert first == f"error: gpu-check ran nothing: {gpu_missing()}"


@pytest.mark.gpu
def test_on_a_gpu(command, tmp_path):
    if reason := gpu_missing():
        pytest.skip(reason)
    options = ("benchmark.models=[lenet]", "benchmark.batch_sizes=[32]", "benchmark.quick=true", "hydra.run.dir=out")
    outcome = command("cnn.benchmark", "backend=cupy", *options)
    assert outcome.status == 0, outcome.err
    record = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    (cell,) = record["cells"]
    assert "error" not in cell
    assert record["ceilings"]["bytes_per_second"] > 1e10
    assert all(0 < row["fraction_of_bandwidth"] < 1.5 for row in cell["kernels"])
    assert all(row["fraction_of_arithmetic"] < 1.1 for row in cell["kernels"])
    assert cell["step"]["peak_bytes"] > 0
    if not torch_missing():
        assert cell["torch"]["same_step"]
