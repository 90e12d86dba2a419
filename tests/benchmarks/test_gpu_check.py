"""The turn on a machine with a GPU, rehearsed: nothing computes, and the packages missing there are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import compiling, conformance, recipe, variants
from benchmarks.gpu.turn import Turn
from benchmarks.gpu_check import main
from cnn.backends import Ops, gpu_missing
from cnn.kernels import KERNELS, compiled_with
from foundation.errors import UserError
from foundation.pack_hash import content_hash

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).resolve().parent / "idle_site"
# An interpreter with exactly the packages of an image for GPUs: NumPy, SciPy, scikit-learn, Pillow, matplotlib, rich,
# safetensors, hypothesis, pytest.
BARE = os.environ.get("CNN_TEST_BARE_PYTHON")
PYTHONS = [
    pytest.param(sys.executable, id="this"),
    pytest.param(BARE, id="bare", marks=pytest.mark.skipif(BARE is None, reason="CNN_TEST_BARE_PYTHON is not set")),
]

TESTS = """
import warnings, pytest
@pytest.mark.gpu
def test_a_deprecation_is_no_failure():
    warnings.warn("numpy.core is deprecated", DeprecationWarning)
@pytest.mark.gpu
def test_of_bf16():
    assert 1
@pytest.mark.gpu
def test_that_fails():
    assert "the reason" == "another"
def test_not_for_a_gpu():
    assert 0
"""


def check(python, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`gpu-check` in a process of its own."""
    command = [python, "-m", "benchmarks.gpu_check", "--quick", "--out", str(out), *arguments]
    environment = os.environ | {"PYTHONPATH": str(SITE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_every_stage_leaves_its_files_without_the_packages_that_are_missing_there(tmp_path, python):
    done = check(python, tmp_path, "--minutes", "4", "--stages", "compile", "tiles", "layers", "training")
    assert done.returncode == 0, done.stdout + done.stderr
    names = {"tiles.json", "tiles.md", "training.md", "training.json", "summary.md"}
    names |= {f"layers_{precision}.{kind}" for precision in ("bfloat16", "float32") for kind in ("md", "json")}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        text = (tmp_path / name).read_text()
        assert "python -m benchmarks.gpu_check --quick" in text, name
        assert "--seconds" not in text, name
        assert "numpy" in text, name
    tiles = json.loads((tmp_path / "tiles.json").read_text())
    for precision, expected in {
        "bfloat16": {"tensor_forward", "tensor_backward_input", "tensor_backward_filter"},
        "tf32": {"tensor_forward", "tensor_backward_input", "tensor_backward_filter"},
        "float32": {"dense_forward", "conv_forward", "conv_backward_filter"},
    }.items():
        products = tiles["precisions"][precision]["products"]
        assert expected <= {row["function"] for row in products}
        assert all({row["rule"], row["fastest"]} <= set(row["seconds"]) for row in products)
        assert any(len(row["seconds"]) > 1 for row in products)
        assert [step["model"] for step in tiles["precisions"][precision]["steps"]] == ["lenet"]
        assert f"\n## {precision}\n" in (tmp_path / "tiles.md").read_text()
    layers = json.loads((tmp_path / "layers_bfloat16.json").read_text())
    assert layers["cells"][0]["kernels"]
    training = json.loads((tmp_path / "training.json").read_text())
    assert [row["by"] for row in training["rows"]] == ["ours, bfloat16", "ours, float32"]
    assert all(row["images_per_second"] > 0 for row in training["rows"])
    assert training["torch_missing"] == "PyTorch is not installed"


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_the_tests_of_the_device_are_collected_there(python):
    command = [python, "-m", "pytest", "--collect-only", "-q", *conformance.OPTIONS, *conformance.TESTS]
    environment = os.environ | {"PYTHONPATH": str(SITE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for word in ("test_step_on_kernels", "test_capture", "bfloat16-cupy", "test_conformance"):
        assert word in done.stdout
    assert " at 0x" not in done.stdout  # an address in a test's name, by which parallel workers would disagree


def test_a_stage_that_fails_does_not_stop_the_next(tmp_path):
    file = tmp_path / "test_of_the_device.py"
    file.write_text(TESTS)
    out = tmp_path / "out"
    done = check(sys.executable, out, "--stages", "conformance", "layers", "--tests", str(file))
    assert done.returncode == 1
    summary = (out / "summary.md").read_text()
    assert "| conformance | FAILED: RuntimeError: 1 failed, 2 passed" in summary
    assert "| layers | 2 steps |" in summary
    assert (out / "layers_float32.json").exists()
    text = (out / "conformance.md").read_text()
    assert "| bfloat16 | 1 | 0 | 0 | 0 |" in text
    assert "| float32 | 1 | 1 | 0 | 0 |" in text
    assert "test_that_fails" in text.partition("## Failures")[2]
    assert "the reason" in text
    assert "deprecation_is_no_failure" not in text.partition("## Failures")[2].partition("```")[0]


def test_every_kernel_is_in_a_module_that_is_compiled():
    compiled = [KERNELS[name] for name in compiling.modules()]
    found = [each.name for kernel in compiled for each in compiled_with(kernel)]
    assert sorted(found) == sorted(KERNELS)


def test_outcomes_of_parallel_workers_are_read(tmp_path):
    lines = ["[gw0] [ 50%] PASSED tests/a.py::test_one[bf16 x] ", "[gw11] [100%] FAILED tests/a.py::test_two"]
    assert conformance.outcomes("\n".join(lines)) == [
        ("tests/a.py", "test_one[bf16 x]", "PASSED"),
        ("tests/a.py", "test_two", "FAILED"),
    ]


def test_tests_that_do_not_end_are_stopped_and_told(tmp_path):
    file = tmp_path / "test_of_the_device.py"
    file.write_text("import pytest, time\n@pytest.mark.gpu\ndef test_long():\n    time.sleep(1000)\n")
    out = tmp_path / "out"
    done = check(sys.executable, out, "--minutes", "0.2", "--stages", "conformance", "--tests", str(file))
    assert "stopped when its time was over" in done.stdout
    assert "ended when its time was over" in (out / "conformance.md").read_text()


@pytest.mark.skipif(gpu_missing() is None, reason="a GPU is there")
def test_without_a_gpu_nothing_runs(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: gpu-check ran nothing: {gpu_missing()}\n"
    assert not (tmp_path / "out").exists()


@pytest.fixture
def drawn_pack(tmp_path, monkeypatch) -> Path:
    """A pack of 16 images a split, which the stages load to the reference."""
    for stage in (recipe, variants):
        monkeypatch.setattr(stage, "get_ops", lambda name: Ops())
    rng = np.random.default_rng(0)
    folder = tmp_path / "pack"
    folder.mkdir()
    labels = np.arange(48) % 3
    images = rng.integers(0, 60, (48, 16, 16, 1)) + 90 * labels[:, None, None, None]
    arrays = {"images": images.astype(np.uint8), "labels": labels, "splits": np.arange(48) // 3 % 3}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    description: dict = {"name": "drawn", "classes": ["a", "b", "c"], "split_names": ["train", "validation", "test"]}
    description["content_hash"] = content_hash(**arrays, classes=["a", "b", "c"])
    (folder / "pack.json").write_text(json.dumps(description))
    return folder


def test_variants_of_a_recipe_are_compared_on_the_validation_split(tmp_path, drawn_pack):
    file = tmp_path / "variants.json"
    file.write_text(
        json.dumps(
            {
                "short": {"model": {"widths": [4, 4, 4, 4]}, "trainer": {"epochs": 2}},
                "another": {"trainer": {"epochs": 3, "ema": 0.9}, "model": "lenet", "augment": {"mixup": 0.2}},
            }
        )
    )
    said = variants.run(Turn(tmp_path, 600, "the command", data=drawn_pack, variants=file))
    assert said == "2 variants, 0 left out for want of time"
    text = (tmp_path / "variants_baseline_tuned.md").read_text()
    assert "| short | 2 | " in text
    assert "- another: `trainer.epochs=3`, `trainer.ema=0.9`, `model=lenet`, `augment.mixup=0.2`" in text
    assert "The test split was not scored." in text
    assert variants.run(Turn(tmp_path, 5, "", data=drawn_pack)).startswith("left out")
    file.write_text("[1]")
    with pytest.raises(UserError, match=r"variants\.json is not a mapping"):
        variants.run(Turn(tmp_path, 5, "", data=drawn_pack, variants=file))


def test_the_recipe_is_trained_with_the_time_that_is_left(tmp_path, drawn_pack):
    said = recipe.run(Turn(tmp_path, 600, "the command", data=drawn_pack, seeds=(0, 1)))
    assert said.startswith("test accuracy")
    text = (tmp_path / "recipe_baseline_tuned.md").read_text()
    assert "baseline in float32 on the pack drawn: training on 18 images. Test accuracy" in text
    assert "over 2 seeds" in text
    assert "| 1 | 10 | 10 | " in text
    assert "## Seed 1" in text
    assert recipe.run(Turn(tmp_path, 5, "")) == "left out: GPU_DATA names no pack"
