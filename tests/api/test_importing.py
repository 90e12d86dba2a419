"""What an import brings along, and the snippet of the README; each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("cv2", "cupy", "faiss", "hydra", "jinja2", "matplotlib", "numba", "torch")


def run(code: str, folder: Path) -> str:
    """What Python prints for `code`, in an empty folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_an_import_is_light(tmp_path):
    """Nothing that only some uses need: an estimator, the operations and the layers are named, none is used."""
    names = "import cnn; cnn.Classifier('resnet9'); cnn.ops; from cnn import Classifier, layers, ops"
    found = run(f"{names}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])", tmp_path)
    assert found.split() == []


def test_importing_the_package_imports_nothing_else(tmp_path):
    code = (
        f"import sys, cnn\nheavy = ('cnn', 'numpy', 'scipy', 'sklearn', *{HEAVY})\n"
        "print(*[m for m in sys.modules if m.split('.')[0] in heavy], dir(cnn))"
    )
    found = run(code, tmp_path)
    assert found.split("[")[0].split() == ["cnn"]
    assert "'Classifier'" in found
    assert "'ops'" in found


def test_no_command_imports_the_search_for_duplicates_at_its_start(tmp_path):
    names = ("train", "evaluate", "compare", "lr_find", "predict", "summary")
    modules = ", ".join([*(f"cnn.{name}" for name in names), "data_tools.prepare", "data_tools.audit"])
    code = f"import sys, {modules}\nprint(*[name for name in ('cv2', 'faiss') if name in sys.modules])"
    assert run(code, tmp_path).split() == []


def test_what_is_not_there_is_an_attribute_error():
    import cnn  # noqa: PLC0415

    with pytest.raises(AttributeError, match="module 'cnn' has no attribute 'Regressor'"):
        cnn.Regressor  # noqa: B018


def test_hydra_is_not_needed(tmp_path):
    """Nor OpenCV and FAISS, which the data tools need."""
    code = """
import sys
sys.modules.update(dict.fromkeys(["hydra", "cv2", "faiss"]))  # their import fails
import numpy as np
from cnn import Classifier
X, y = np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8), np.arange(40) % 2
options = {"optimizer": "sgd", "schedule": "cosine", "augment": "flip", "epochs": 1, "backend": "numpy"}
classifier = Classifier("mlp", **options).fit(X, y)
classifier.save("here")
print(Classifier.load("here", backend="numpy").score(X, y) == classifier.score(X, y))
print(len(classifier.report(X, y).html) > 1000)
"""
    assert run(code, tmp_path) == "True\nTrue\n"


def snippet() -> str:
    """The Python of the README."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return code


def test_the_readmes_snippet_is_short_and_learns_the_digits(tmp_path):
    code = snippet()
    assert len(code.splitlines()) <= 15
    printed = run(code, tmp_path)
    score = re.search(r"^score: ([\d.]+)$", printed, re.MULTILINE)
    folds = re.search(r"^folds: \[([\d. ]+)\]$", printed, re.MULTILINE)
    assert float(score[1]) >= 0.97
    assert len(folds[1].split()) == 3
    assert min(map(float, folds[1].split())) > 0.9
    assert "conv2d_6" in printed
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_snippets_of_the_page_run(tmp_path):
    """One after the other, on data that they do not name, for one epoch each; there is no run of cnn.train to load."""
    codes = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    data = """
import numpy as np
rng = np.random.default_rng(0)
X, y = rng.integers(0, 255, (48, 16, 16), np.uint8), np.arange(48) % 3
X_new = X_test = X[:6]
y_test = y[:6]
x, w, bias = rng.normal(size=(2, 7, 6, 4)), rng.normal(size=(3, 3, 4, 5)), rng.normal(size=5)
dy, gamma, beta = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=4), rng.normal(size=4)
"""
    code = "\n".join([data, *codes, "print(sorted(maps), dx.shape, dw.shape, y.shape)"])
    for written, run_here in (("epochs=5", "epochs=1"), ("Classifier(model)", "Classifier(model, epochs=1)")):
        assert written in code
        code = code.replace(written, run_here)
    code = re.sub(r'^.*Classifier\.load\("runs.*$', "", code, flags=re.MULTILINE)
    assert run(code, tmp_path) == "['add_1', 'relu_1'] (2, 7, 6, 4) (3, 3, 4, 5) (2, 7, 6, 4)\n"
