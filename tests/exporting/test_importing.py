"""Weights of PyTorch and Keras, in their own layouts and orders, into our networks; they are the referees."""

from __future__ import annotations

import json
import os
import pickle
import sys

import numpy as np
import pytest

from cnn import Classifier, import_weights
from cnn.backends import get_ops
from cnn.exporting.formats import Export, export_network
from cnn.exporting.opening import open_network
from cnn.exporting.parity import check_inputs, compare
from cnn.importing.check import check_torch
from cnn.importing.keras_weights import read_keras
from cnn.importing.matching import converted, match
from cnn.importing.torch_weights import read_pt, read_safetensors
from cnn.models import build_model
from exporting.networks import CLASSES, ODD, SHIPPED, keras_or_skip, network
from foundation.errors import UserError

LENET_LIKE = {
    "name": "mine",
    "layers": [
        {"conv2d": {"filters": 4, "padding": "valid"}},
        "batch_norm",
        "relu",
        {"max_pool2d": 2},
        {"depthwise_conv2d": {"multiplier": 2}},
        "flatten",
        "batch_norm",
        {"dropout": 0.3},
        {"dense": 6},
        "prelu",
        {"dense": "classes"},
    ],
}


def torch_network(torch, seed=0):
    """The same in PyTorch, with names of its own, and images flattened channel by channel."""
    nn = torch.nn
    torch.manual_seed(seed)
    made = nn.Sequential()
    made.add_module("zz_first", nn.Conv2d(3, 4, 3))
    made.add_module("b", nn.BatchNorm2d(4))
    made.add_module("act", nn.ReLU())
    made.add_module("pool", nn.MaxPool2d(2))
    made.add_module("a_depthwise", nn.Conv2d(4, 8, 3, padding=1, groups=4))
    made.add_module("flat", nn.Flatten())
    made.add_module("norm", nn.BatchNorm1d(8 * 3 * 4))
    made.add_module("drop", nn.Dropout(0.3))
    made.add_module("hidden", nn.Linear(8 * 3 * 4, 6))
    made.add_module("p", nn.PReLU())  # one slope for all
    made.add_module("out", nn.Linear(6, 3))
    for name, tensor in made.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            tensor.normal_()
    return made.eval()


def imported(weights, shape=(8, 10, 3), classes=3, config=LENET_LIKE, names=None):
    """The model on NumPy with the tensors of a file, and the modules of its nodes."""
    model = build_model(config, get_ops("numpy"), shape, classes, 0)
    matched = match(model.graph, weights, names or {})
    model.load_state(converted(model, weights, matched), "the file")
    return model, matched


def test_a_state_dict_computes_what_pytorch_computes(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch_network(torch)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "w.pt"
    )
    x = np.random.default_rng(0).standard_normal((5, 8, 10, 3)).astype(np.float32)
    model, _ = imported(read_pt(tmp_path / "w.pt"))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(model.forward(x, train=False)[0] - expected).max() < 1e-5


def test_safetensors_are_matched_by_kind_or_by_given_names(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import save_file  # noqa: PLC0415

    theirs = torch_network(torch)
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")  # the order of names is lost: a_depthwise comes first
    weights = read_safetensors(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="a_depthwise: weight has shape"):
        imported(weights)
    names = {"conv2d_1": "zz_first", "dense_1": "hidden", "batch_norm_1": "b"}
    model, _ = imported(weights, names=names)
    x = np.random.default_rng(0).standard_normal((5, 8, 10, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(model.forward(x, train=False)[0] - expected).max() < 1e-5
    with pytest.raises(UserError, match="no module 'stem'"):
        imported(weights, names={"conv2d_1": "stem"})


@pytest.mark.parametrize("model", [*SHIPPED, *ODD])
@pytest.mark.parametrize("ending", [".py", ".keras"])
def test_our_own_exports_come_back_the_same(model, ending, tmp_path):
    pytest.importorskip("h5py" if ending == ".keras" else "safetensors", reason="the extra `export` is not installed")
    if ending == ".keras" and model == "pooling":
        pytest.skip("Keras has no such pooling")
    made = network(ODD.get(model, model), (19, 22, 3))
    export_network(made, tmp_path / f"n{ending}", Export(check=False))
    found = read_keras(tmp_path / "n.keras") if ending == ".keras" else read_safetensors(tmp_path / "n.safetensors")
    assert list(found.classes) == list(CLASSES)
    assert found.scale == pytest.approx(made.scaling.scale.tolist())
    matched = match(made.graph, found, {})
    state = converted(made.model, found, matched)
    assert set(state) == set(made.tensors)
    assert all(np.allclose(state[name], made.tensors[name], rtol=0, atol=1e-6) for name in state)


def test_the_check_of_an_import_finds_a_wrong_conversion():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = network("lenet", (16, 14, 1))
    state = {}
    from cnn.exporting.torch_module import torch_layout  # noqa: PLC0415
    from cnn.importing.modules import Module, kind_of_node  # noqa: PLC0415

    for node in made.graph.nodes:
        if kind := kind_of_node(node, "torch"):
            tensors = {key: torch_layout(node, key, value) for key, value in made.of_node(node).items()}
            state[node.name] = Module(node.name, kind, tensors)
    assert check_torch(made, state, channels_first=False).probabilities < 1e-4
    with pytest.raises(UserError, match="nothing was written"):  # another order of the flattened image
        check_torch(made, state, channels_first=True)
    assert torch


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras itself
@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".h5"])
def test_a_network_made_in_keras_computes_the_same(ending, tmp_path):
    keras = keras_or_skip()
    layers = keras.layers
    theirs = keras.Sequential(
        [
            keras.Input((8, 10, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(4, 3, name="stem"),
            layers.BatchNormalization(name="b"),  # Keras's epsilon is 1e-3, ours 1e-5
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            layers.Flatten(),
            layers.BatchNormalization(scale=False),
            layers.Dropout(0.3),
            layers.Dense(6),
            layers.PReLU(),
            layers.Dense(3),
        ]
    )
    rng = np.random.default_rng(0)
    theirs.set_weights(
        [rng.uniform(0.3, 1.5, w.shape).astype(np.float32) - 0.2 * (w.ndim > 1) for w in theirs.get_weights()]
    )
    (theirs.save_weights if ending == ".weights.h5" else theirs.save)(tmp_path / f"w{ending}")
    if ending == ".weights.h5":  # it does not say which eps the norms have, nor that one has no scale
        with pytest.raises(UserError, match=r"shape|has no"):
            imported(read_keras(tmp_path / f"w{ending}"))
        return
    found = read_keras(tmp_path / f"w{ending}")
    assert (found.scale, found.offset) == ([1 / 127.5], [-1.0])
    model, _ = imported(found)
    pixels = rng.integers(0, 256, (5, 8, 10, 3)).astype(np.float32)
    expected = theirs.predict(pixels, verbose=0)
    assert (
        np.abs(model.forward(pixels / np.float32(127.5) - 1, train=False)[0] - expected).max()
        < 1e-4 * np.abs(expected).max()
    )


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("ending", [".pt", ".safetensors", ".keras", ".h5"])
@pytest.mark.parametrize("content", ["pickle", "noise", "empty", "zip"])
def test_files_that_are_no_weights_are_refused_in_one_line_and_run_nothing(
    ending, content, tmp_path, monkeypatch, capfd
):
    if ending == ".pt":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    elif ending != ".safetensors":
        pytest.importorskip("h5py", reason="the extra `export` is not installed")
    monkeypatch.chdir(tmp_path)
    bytes_ = {
        "pickle": pickle.dumps({"conv2d_1.weight": Evil()}),
        "noise": np.random.default_rng(0).bytes(500),
        "empty": b"",
        "zip": b"PK\x05\x06" + b"\0" * 18,
    }[content]
    (tmp_path / f"w{ending}").write_bytes(bytes_)
    monkeypatch.setattr(
        sys, "argv", ["import_weights", f"weights=w{ending}", "output=o", "classes=[a,b]", "backend=numpy"]
    )
    with pytest.raises(SystemExit) as stop:
        import_weights.main()
    assert stop.value.code == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: w")
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "o").exists()


def test_the_command_makes_a_folder_for_the_other_commands(tmp_path, monkeypatch, capfd):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = network("lenet", (16, 16, 1))
    export_network(made, tmp_path / "n.py", Export(check=False))
    monkeypatch.chdir(tmp_path)
    config = made.config
    arguments = ["weights=n.safetensors", "model=lenet", "output=mine", "image_size=16", "backend=numpy"]
    arguments += [f"model.{key}={json.dumps(config[key])}" for key in ("widths", "dense_widths") if key in config]
    monkeypatch.setattr(sys, "argv", ["import_weights", *arguments])
    import_weights.main()
    assert "Compared: on 24 inputs torch" in capfd.readouterr().out
    again = open_network(tmp_path / "mine", made.ops)
    compare(made, "the imported folder", again.logits)
    inputs = check_inputs(made)
    found = Classifier.load(tmp_path / "mine", backend="numpy").predict_proba(inputs)
    assert found.shape == (len(inputs), len(CLASSES))
    assert torch
