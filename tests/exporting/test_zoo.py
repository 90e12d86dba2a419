"""The networks that come with the project: whole, small, described, found from any folder, and with parity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnn import Classifier
from cnn.backends import get_ops
from cnn.exporting.formats import Export, export_network
from cnn.exporting.opening import open_network
from cnn.exporting.parity import check_inputs
from cnn.training.run_folder import run_folder
from foundation.errors import UserError

ZOO = Path(__file__).resolve().parents[2] / "zoo"
NETWORKS = sorted(path.parent.name for path in ZOO.glob("*/model.safetensors"))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_zoo_is_small_described_and_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run_folder(Path(f"zoo/{name}"))
    assert folder.resolve() == (ZOO / name).resolve()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2.1e6
    card = (folder / "card.md").read_text()
    for heading in ("must not be used for", "pack hash", "95 % interval", "Confusion matrix", "seed"):
        assert heading in card
    network = open_network(Path(f"zoo/{name}"), get_ops("numpy"))
    inputs = check_inputs(network)[:6]
    logits = network.logits(inputs).astype(np.float64)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    classifier = Classifier.load(f"zoo/{name}", backend="numpy")
    assert np.abs(classifier.predict_proba(inputs) - expected).max() < 1e-5
    assert tuple(map(str, classifier.classes_)) == network.classes


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("ending", [".onnx", ".py"])
def test_a_network_of_the_zoo_is_the_same_in_other_programs(name, ending, tmp_path):
    pytest.importorskip("torch" if ending == ".py" else "onnxruntime", reason="not installed")
    parity = export_network(open_network(ZOO / name, get_ops("numpy")), tmp_path / f"n{ending}", Export())
    assert parity.probabilities <= 1e-4


@pytest.mark.parametrize("name", ["zoo/absent", "zoo/..", "zoo/../foundation", "zoo"])
def test_only_names_of_the_zoo_are_looked_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such folder|is missing"):
        open_network(Path(name), get_ops("numpy"))
    assert len(NETWORKS) >= 1
