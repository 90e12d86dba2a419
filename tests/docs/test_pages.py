"""The pages that tell how to add something are followed: each step is done in a copy, and the result has to work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from following import apply, copy_project, follow, run, steps


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


def lint(page: str, project: Path) -> None:
    """The style of what a page adds is the project's."""
    if find_spec("ruff") is None:
        return
    text = (project / "docs" / page).read_text(encoding="utf-8")
    files = sorted({step.path for step in steps(text) if step.path.endswith(".py")})
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", *files],
            cwd=project, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_adding_a_data_source(project):
    random = np.random.default_rng(0)
    arrays = {}
    for prefix, count in (("train", 40), ("val", 10), ("test", 12)):
        arrays[f"{prefix}_images"] = random.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{prefix}_labels"] = random.integers(0, 2, (count, 1))
    arrays["val_labels"][0] = 7  # a class that nobody named
    (project / "data").mkdir()
    np.savez(project / "data" / "pneumoniamnist.npz", **arrays)

    printed = follow("adding_a_data_source.md", project)

    (pack,) = (project / "packs").glob("pneumonia-*")
    splits, labels = np.load(pack / "splits.npy"), np.load(pack / "labels.npy")
    assert np.bincount(splits).tolist() == [40, 9, 12]
    for split, prefix in enumerate(("train", "val", "test")):
        expected = arrays[f"{prefix}_labels"].ravel()
        assert np.bincount(labels[splits == split]).tolist() == np.bincount(expected[expected < 2]).tolist()
    assert json.loads((pack / "pack.json").read_text())["classes"] == ["normal", "pneumonia"]
    assert pack.name in printed[0]
    lint("adding_a_data_source.md", project)


# What a network made of the new part has to do, on the backends that compute on a CPU. `LAYERS` is YAML.
NETWORK = """
import numpy as np
from importlib.util import find_spec
from omegaconf import OmegaConf
from cnn.backends import get_ops
from cnn.models import InferenceModel, build_model
from cnn.training.checkpoint import load_checkpoint, save_checkpoint
from pathlib import Path

CONFIG = OmegaConf.to_container(OmegaConf.create(LAYERS))
SHAPE, CLASSES = (7, 6, 2), 3
random = np.random.default_rng(0)
x, dy = random.normal(size=(4, *SHAPE)), random.normal(size=(4, CLASSES))
x[np.abs(x) < 0.01] = 0.5


def built(backend, dtype="float64", seed=0):
    return build_model(CONFIG, get_ops(backend), SHAPE, CLASSES, seed, dtype)


def gradients_are_those_of_finite_differences(backend):
    model = built(backend)
    model.backward(model.forward(x, True)[1], dy.copy())
    gradients, values = model.gradients.on_host(), model.values.on_host()
    for name, gradient in gradients.items():
        direction, ends = random.normal(size=gradient.shape), []
        for step in (1e-6, -1e-6):
            model.values.fill({**values, name: values[name] + step * direction})
            ends.append(float((np.asarray(model.forward(x, True)[0]) * dy).sum()))
        model.values.fill(values)
        found, wanted = float((gradient * direction).sum()), (ends[0] - ends[1]) / 2e-6
        assert abs(found - wanted) <= 1e-6 * max(1, abs(wanted)), (backend, name, found, wanted)


def a_checkpoint_brings_it_back(backend):
    one, two = built(backend), built(backend, seed=1)
    scores = [np.array(InferenceModel(model).forward(x)) for model in (one, two)]
    assert not np.allclose(*scores)
    save_checkpoint(Path("weights.safetensors"), one.state(), {})
    two.load_state(load_checkpoint(Path("weights.safetensors"))[0], "weights.safetensors")
    np.testing.assert_array_equal(InferenceModel(two).forward(x), scores[0])


for backend in ("numpy", *(["cpu"] if find_spec("numba") else [])):
    gradients_are_those_of_finite_differences(backend)
    a_checkpoint_brings_it_back(backend)
if find_spec("torch"):
    from benchmarks.torch_comparison import TOLERANCE, differences, largest
    from benchmarks.workload import named_options, noise
    found = differences(named_options("adam"), built("numpy", "float32"), *noise(32, SHAPE, CLASSES))
    assert largest({"": found})[0] <= TOLERANCE, found
print([node.name for node in build_model(CONFIG, get_ops("numpy"), SHAPE, CLASSES, 0).graph.nodes])
"""


def network(project: Path, layers: str) -> str:
    """Run `NETWORK` in the copy, on a network that a config describes; the names of its nodes."""
    (project / "network.py").write_text(f'LAYERS = """{layers}"""\n{NETWORK}', encoding="utf-8")
    return run("python network.py", project)


@pytest.mark.slow
def test_adding_an_activation(project, monkeypatch):
    layers = "layers: [{conv2d: 4}, softsign, batch_norm, softsign, {max_pool2d: 2}, flatten, {dense: classes}]"
    with pytest.raises(AssertionError, match="there is no layer 'softsign'"):
        network(project, layers)

    monkeypatch.setenv("PYTEST_ADDOPTS", "-rA")  # the tests that passed are named
    (printed,) = follow("adding_an_activation.md", project)

    for backend in ("numpy-float64", "cpu-float32", "emulator-fast", "emulator-checked"):
        assert re.search(rf"PASSED .*\[{backend}-activation_backward-image_softsign\]", printed)
    assert "softsign_2" in network(project, layers)
    formula = "import numpy as np; from cnn.backends import *; x = np.array([-3.0, 0, 1]); o = get_ops('numpy'); "
    printed = run(f"python -c \"{formula}print(o.activation(x, Activation('softsign')).tolist())\"", project)
    assert json.loads(printed) == [-0.75, 0.0, 0.5]
    lint("adding_an_activation.md", project)


@pytest.mark.slow
def test_adding_a_layer(project):
    printed = follow("adding_a_layer.md", project)
    assert "eca_2" in printed[-1]
    layers = "layers: [{conv2d: 5}, eca, relu, {eca: 5}, batch_norm, global_avg_pool2d, {dense: classes}]"
    assert "eca_2" in network(project, layers)
    lint("adding_a_layer.md", project)


# --- the follower itself ---------------------------------------------------------------------------------------------


PAGE = """# A page

Write `a/b.py`:

```python
one = 1
three = 3
```

In `a/b.py`, after `one = 1`, add:

```python
two = 2
```

In `a/b.py`, before `one = 1`, add:

```python
zero = 0
```

It prints:

```bash
python a/b.py
```

```
nothing
```
"""


def test_blocks_are_taken_by_the_sentence_before_them(tmp_path):
    verbs = [step.verb for step in steps(PAGE)]
    assert verbs == ["write", "after", "before", "run", ""]
    for step in list(steps(PAGE))[:3]:
        apply(step, tmp_path)
    assert (tmp_path / "a" / "b.py").read_text() == "zero = 0\none = 1\ntwo = 2\nthree = 3\n"


def test_a_line_that_is_the_text_comes_before_lines_that_contain_it(tmp_path):
    write, after, *_ = steps(PAGE)
    apply(write, tmp_path)
    (tmp_path / "a" / "b.py").write_text("one = 10\n  one = 1\n")
    apply(after, tmp_path)
    assert (tmp_path / "a" / "b.py").read_text() == "one = 10\n  one = 1\ntwo = 2\n"


def test_a_page_that_no_longer_fits_is_noticed(tmp_path):
    write, after, *_ = steps(PAGE)
    apply(write, tmp_path)
    with pytest.raises(AssertionError, match="is there already"):
        apply(write, tmp_path)
    (tmp_path / "a" / "b.py").write_text("one = 10\none = 11\n")
    with pytest.raises(AssertionError, match="in 2 lines"):
        apply(after, tmp_path)
    with pytest.raises(AssertionError, match="no such option"):
        run("python -c \"raise SystemExit('no such option')\"", tmp_path)
