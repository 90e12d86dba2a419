"""Every shipped network and odd ones in every format; the other libraries are the referees."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from cnn.exporting.formats import Export, export_network
from cnn.exporting.keras_file import write_keras
from cnn.exporting.onnx_file import OnnxSession, write_onnx
from cnn.exporting.opening import open_network
from cnn.exporting.parity import TOLERANCE, check_inputs, compare
from cnn.exporting.torch_module import TorchModule
from cnn.layers import ReLU
from exporting.networks import CLASSES, ODD, SHIPPED, beside, keras_or_skip, network
from foundation.errors import UserError

VECTORS = [{"dense": 7}, "relu", "batch_norm", {"dense": "classes"}]
CASES = [
    *(pytest.param(name, {}, id=name) for name in SHIPPED),
    *(pytest.param(layers, {}, id=name) for name, layers in ODD.items()),
    pytest.param(ODD["norms"], {"floats": True}, id="floats"),
    pytest.param(VECTORS, {"shape": (9,), "floats": True}, id="vectors"),
]


@pytest.mark.parametrize(("model", "options"), CASES)
def test_onnxruntime_and_pytorch_compute_the_same(model, options, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    made = network(model, **options)
    write_onnx(made, tmp_path / "n.onnx", {})
    session = OnnxSession(tmp_path / "n.onnx")
    assert compare(made, session.referee, session.logits).logits < TOLERANCE * 4
    assert json.loads(session.metadata()["classes"]) == list(CLASSES)
    if _installed("torch"):
        module = TorchModule(made, tmp_path)
        assert compare(made, module.referee, module.logits).logits < TOLERANCE * 4


def _installed(package: str) -> bool:
    try:
        __import__(package)
    except ImportError:
        return False
    return True


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras itself
@pytest.mark.parametrize(("model", "options"), CASES)
def test_keras_computes_the_same(model, options, tmp_path):
    keras_or_skip()
    made = network(model, **options)
    if model is ODD["pooling"]:
        with pytest.raises(UserError, match="max_pool2d_1"):
            export_network(made, tmp_path / "n.keras", Export())
        assert beside(tmp_path / "n.keras") == []
        return
    parity = export_network(made, tmp_path / "n.keras", Export())
    assert parity is not None
    assert parity.logits < TOLERANCE * 4


def test_a_keras_file_has_each_weight_once_and_the_same_bytes_again(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra `export` is not installed")
    made = network("se_resnet_small")
    for name in ("a.keras", "b.keras"):
        write_keras(made, tmp_path / name, {"parity": "not compared"})
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        config = json.loads(archive.read("config.json"))
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
    sizes = []
    with h5py.File(tmp_path / "w.h5") as file:
        file.visititems(lambda _, item: sizes.append(item.size) if hasattr(item, "size") else None)
    assert sum(sizes) == made.model.parameter_count
    names = [layer["name"] for layer in config["config"]["layers"]]
    assert len(set(names)) == len(names)
    assert {node.name for node in made.graph.nodes} <= set(names)


@pytest.mark.parametrize("weights", ["float16", "bfloat16"])
@pytest.mark.parametrize("ending", [".onnx", ".py", ""])
def test_rounded_weights_halve_the_file_and_say_what_rounding_changed(weights, ending, tmp_path):
    pytest.importorskip("torch" if ending == ".py" else "onnxruntime", reason="not installed")
    made = network("resnet9" if not ending else "preact_resnet_small", (16, 16, 1))
    path = tmp_path / f"n{ending}"
    if not ending and weights == "bfloat16":
        with pytest.raises(UserError, match="bfloat16"):
            export_network(made, path, Export(weights=weights))
        assert not path.exists()
        return
    parity = export_network(made, path, Export(weights=weights))
    assert parity is not None
    assert 1e-7 < parity.rounding < 0.1
    files = list(path.glob("model.safetensors")) if path.is_dir() else [path.with_suffix(".safetensors"), path]
    size = max(each.stat().st_size for each in files if each.exists())
    assert size < 2.1 * made.model.parameter_count + 60_000
    assert "float16" in str(parity) or "rounding" in str(parity)


def test_a_wrong_export_fails_and_leaves_nothing(tmp_path, monkeypatch):
    """Whatever the writer gets wrong, here one weight of one layer, is found by the comparison."""
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    made = network("lenet", (16, 16, 1))
    name = next(key for key in made.tensors if key.endswith(".weight"))
    broken = {**made.tensors, name: made.tensors[name] * np.float32(1.01)}
    monkeypatch.setattr(
        "cnn.exporting.formats.write_onnx",
        lambda given, path, metadata: write_onnx(replace(given, tensors=broken), path, metadata),
    )
    with pytest.raises(UserError, match="nothing was written"):
        export_network(made, tmp_path / "n.onnx", Export())
    assert beside(tmp_path / "n.onnx") == []


def test_the_metadata_has_the_comparison_and_the_batch_may_have_any_size(tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    made = network("small", (17, 13, 1))
    parity = export_network(made, tmp_path / "n.onnx", Export(images=check_inputs(made)[:5]))
    session = runtime.InferenceSession((tmp_path / "n.onnx").read_bytes())
    kept = json.loads(session.get_modelmeta().custom_metadata_map["parity"])
    assert kept["probabilities"] == parity.probabilities <= TOLERANCE
    assert kept["images"] == len(check_inputs(made)) + 5
    for count in (1, 3):
        found = session.run(["probabilities"], {"images": np.zeros((count, 17, 13, 1), np.uint8)})[0]
        assert found.shape == (count, len(CLASSES))
        assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_python_file_holds_names_as_text_alone(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    made = network("mlp", (4, 5, 1))
    made = replace(made, config={**made.config, "name": '"""\nimport os; os.abort()\n"""'})
    export_network(made, tmp_path / "n.py", Export())
    source = (tmp_path / "n.py").read_text(encoding="ascii")  # all else is escaped
    names: dict[str, object] = {"__name__": "n", "__file__": str(tmp_path / "n.py")}
    exec(compile(source, "n.py", "exec"), names)
    assert names["CLASSES"] == list(CLASSES)
    assert "abort" not in source


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("n.txt", Export(), "ending '.txt'"),
        ("n.onnx", Export(format="torch"), "ends in .py"),
        ("n.onnx", Export(format="pickle"), "choose one of: onnx"),
        ("n.onnx", Export(weights="int8"), "choose one of: float32"),
        ("full", Export(), "other files"),
        ("folder.onnx", Export(), "is a folder"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(output, options, message, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.png").write_bytes(b"mine")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UserError, match=message):
        export_network(network(VECTORS, (9,)), tmp_path / output, options)
    assert beside(tmp_path / "x") == ["folder.onnx", "full"]
    assert (tmp_path / "full" / "photo.png").read_bytes() == b"mine"


def test_weights_too_large_for_float16_are_refused(tmp_path):
    made = network(VECTORS, (9,))
    made = replace(made, tensors={**made.tensors, "batch_norm_1.variance": np.full(7, 1e6, np.float32)})
    with pytest.raises(UserError, match=r"batch_norm_1\.variance"):
        export_network(made, tmp_path / "n.onnx", Export(weights="float16"))


class Own(ReLU):
    """A layer that is not of this project."""


def test_a_layer_of_the_users_own_is_refused(tmp_path):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    for output in ("n.onnx", "n.py", "n.keras"):
        with pytest.raises(UserError, match="Own is a layer of your own"):
            export_network(network([{"dense": 7}, Own(), {"dense": "classes"}], (9,)), tmp_path / output, Export())
    assert beside(tmp_path / "x") == []


def test_a_folder_is_read_again_with_the_same_network(tmp_path):
    made = network("airbench", (16, 16, 1))
    metadata = {
        **made.about["metadata"],
        "start": {"run": "/home/me/secret", "epoch": 3},
        "start_from": "/home/me/secret",
    }
    results = {"test_accuracy": 0.5, "test_accuracy_interval": [0.4, 0.6], "test_images": 10}
    made = replace(made, about={"metadata": metadata, "results": results})
    export_network(made, tmp_path / "folder", Export(config={"data": {"root": "/home/me/secret"}, "merge": {}}))
    again = open_network(tmp_path / "folder", made.ops)
    assert again.classes == CLASSES
    inputs = check_inputs(made)
    assert np.array_equal(again.logits(inputs), made.logits(inputs))
    files = [path for path in (tmp_path / "folder").iterdir() if b"secret" in path.read_bytes()]
    assert [path.name for path in files] == ["model.safetensors"]  # the name of the run it started from, not its place
    assert all(b"/home/me" not in path.read_bytes() for path in (tmp_path / "folder").iterdir())
    card = (tmp_path / "folder" / "card.md").read_text()
    assert "0.4000 to 0.6000" in card
    assert "<b>" not in card
    export_network(again, tmp_path / "folder", Export())  # an export may be replaced by another
