from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kernels.dry_run import DryRun
from benchmarks.step_launches import BEFORE, TABLE, main, measure
from foundation.entry import config_dir

MODELS = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))


@pytest.mark.parametrize("model", MODELS)
def test_a_step_takes_nothing_from_the_host(model):
    """Nor does it have CuPy launch anything, or keep masks; the host speaks once an epoch."""
    step = measure(model, batch=2)
    assert (step.uploads, step.uploaded, step.module_launches, step.masks) == (0, 0, 0, 0)
    assert step.epoch_uploads == 1
    assert step.launches > 10
    assert step.moved > 0


@pytest.mark.parametrize(
    ("model", "most", "gigabytes"), [("baseline", 54, 2.8), ("vgg_small", 62, 3.3), ("resnet9", 60, 9.75)]
)
def test_a_step_keeps_to_its_launches_and_bytes(model, most, gigabytes):
    """Of 512 images with bfloat16. Parts are merged by the launch that computes them, so none is there to merge."""
    step = measure(model, 512, "bfloat16")
    assert step.launches <= most
    assert step.moved <= gigabytes * 1e9


def test_the_committed_table_tells_of_todays_code(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err
    text = TABLE.read_text(encoding="utf-8")
    assert all(f"| {model} | before |" in text and f"| {model} | now |" in text for model in BEFORE)


def test_other_models_and_batches(capsys):
    assert main(["--model", "lenet", "--batch", "8"]) == 0
    assert "lenet: " in capsys.readouterr().out
    assert main(["--model", "alexnet"]) == 2
    assert "alexnet" in capsys.readouterr().err


def test_what_comes_from_the_host_is_counted():
    xp = DryRun()
    x = xp.asarray(np.ones((3, 5), np.float32))
    assert xp.asarray(x) is x
    x.set(np.zeros((3, 5), np.float32))
    assert (xp.traffic.uploads, xp.traffic.uploaded) == (2, 2 * 3 * 5 * 4)
    assert (xp.asnumpy(x) == 0).all()
    assert xp.traffic.module_launches == 0


def test_what_the_array_module_would_launch_is_counted():
    xp = DryRun()
    x, at = xp.zeros(6, np.float32), xp.asarray(np.array([2, 4]))
    launched = [xp.traffic.module_launches]
    for work in (
        lambda: x + 1,
        lambda: np.multiply(x, x, out=x),
        lambda: x[at],
        lambda: x[2:4],
        lambda: x.reshape(2, 3),
    ):
        assert isinstance(work(), xp.ndarray)
        launched.append(xp.traffic.module_launches)
    assert launched == [1, 2, 3, 4, 4, 4]  # views cost nothing
    assert xp.traffic.module_bytes == 4 * (6 + 2 * 6 + 3 * 6 + 2 * 2) + at.nbytes


def test_two_dry_runs_count_apart():
    one, two = DryRun(), DryRun()
    one.zeros(3)
    assert (one.traffic.module_launches, two.traffic.module_launches) == (1, 0)
