"""Networks in folders: saved and loaded, and between the Python face and the commands."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from safetensors import safe_open
from sklearn.base import clone

from api.conftest import layers, small, stripes
from api.test_predicting import Twice
from cnn import Classifier
from cnn.layers import JOINS, LAYERS, Clip, Conv2D, Dense
from cnn.models import Branches, Residual, build_model
from cnn.models.entries import plain_entries
from cnn.training.checkpoint import BEST, load_checkpoint, save_checkpoint
from commands.conftest import command, workplace  # noqa: F401
from commands.small import CLASSES, QUICK


def loaded(folder) -> Classifier:
    return Classifier.load(folder, backend="cpu", threads=1)


@pytest.mark.parametrize(
    "labels",
    [["b", "a", "ü"], [-5, 0, 2**40], [True, False], [0.0, 1.0, 4.0], np.array(["x", "y"], object)],
    ids=lambda labels: str(list(labels)),
)
def test_what_is_saved_is_loaded(tmp_path, labels):
    X, y = stripes(60)
    y = np.array(labels)[np.searchsorted(["left", "middle", "right"], y) % len(labels)]
    classifier = small(validation=0.2).fit(X, y)
    classifier.save(tmp_path / "a" / "folder")
    there = loaded(str(tmp_path / "a" / "folder"))
    assert_array_equal(there.predict_proba(X), classifier.predict_proba(X))
    assert_array_equal(there.predict(X), classifier.predict(X))
    for name in ("classes_", "class_count_", "history_", "best_epoch_", "input_shape_"):
        assert_array_equal(getattr(there, name), getattr(classifier, name))
    assert there.classes_.dtype == classifier.classes_.dtype
    assert repr(there).partition("\n")[2] == repr(classifier).partition("\n")[2]
    classifier.save(tmp_path / "a" / "folder")  # again


def test_floats_and_vectors_are_loaded_with_their_scaling(tmp_path, rng):
    X, y = stripes(60)
    for number, (data, model) in enumerate(((X * 1e7 + 1e9, layers()), (rng.normal(size=(60, 5)) + 1e8, "mlp"))):
        classifier = small(model=model).fit(data, y)
        classifier.save(tmp_path / str(number))
        there = loaded(tmp_path / str(number))
        assert_array_equal(there.predict_proba(data), classifier.predict_proba(data))
    with pytest.raises(ValueError, match="X has 4 features, but Classifier is expecting 5"):
        there.predict(data[:, :4])


def test_a_loaded_estimator_trains_as_it_was_trained(tmp_path):
    X, y = stripes(60)
    options = {
        "optimizer": "sgd",
        "schedule": "cosine",
        "augment": "flip_shift",
        "class_weights": {"left": 2.0},
        "validation": 0.25,
        "early_stopping": 4,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "pixels": "unit",
        "batch_size": 100,
        "seed": 5,
    }
    classifier = small(**options).fit(X, y)
    classifier.save(tmp_path)
    again = clone(loaded(tmp_path)).fit(X, y)
    for name, tensor in again.model_.state().items():
        assert_array_equal(tensor, classifier.model_.state()[name])
    assert again.get_params()["batch_size"] == 100


def test_layers_of_ones_own_and_odd_labels_are_not_saved(tmp_path):
    X, y = stripes(30)
    own = small(model=[Residual([Twice()]), "flatten", Dense("classes")], epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"layers\[0\]\.layers\[0\]: Twice is a layer of your own"):
        own.save(tmp_path / "own")
    when = small(epochs=1).fit(X, np.array(["2026-01-01", "2026-02-02"], "datetime64[D]")[np.arange(30) % 2])
    with pytest.raises(ValueError, match="labels of type datetime64"):
        when.save(tmp_path / "when")
    assert not list(tmp_path.iterdir())


def test_a_damaged_or_missing_network_is_one_line(fitted, tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        loaded(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{BEST} is missing"):
        loaded(tmp_path)
    fitted.save(tmp_path)
    tensors, metadata = load_checkpoint(tmp_path / BEST)
    spoilt = {
        "without a shape": {key: value for key, value in metadata.items() if key != "image_shape"},
        "without options": {key: value for key, value in metadata.items() if key != "trainer"},
        "labels of a type that executes": metadata | {"labels": {"dtype": "V8", "values": [1, 2, 3]}},
        "too few labels": metadata | {"labels": {"dtype": "<i8", "values": [1, 2]}},
        "another model": metadata | {"model": {"layers": ["flatten", {"dense": {"units": 3}}]}},
        "a seed of text": metadata | {"seed": "x"},
    }
    for name, changed in spoilt.items():
        save_checkpoint(tmp_path / BEST, tensors, changed)
        with pytest.raises(ValueError, match=BEST) as caught:
            loaded(tmp_path)
        assert "\n" not in str(caught.value), name


# --- layers as data ---------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "conv2d": {"filters": 4, "kernel": (3, 1), "padding": (1, 0), "groups": 2, "init": "glorot_uniform"},
    "depthwise_conv2d": {"multiplier": 2, "bias": False},
    "dense": {"units": "classes", "l2": 0.5},
    "batch_norm": {"momentum": 0.5},
    "group_norm": {"groups": 2, "eps": 1e-3},
    "layer_norm": {"eps": 1e-3},
    "clip": {"low": -1.0, "high": 2.0},
    "leaky_relu": {"slope": 0.3},
    "prelu": {"initial": 0.1},
    "elu": {"alpha": 0.5},
    "dropout": {"rate": 0.5},
    "drop_path": {"rate": 0.5},
    "patch_whitening": {"kernel": (3, 1), "eps": 0.01},
    "max_pool2d": {"kernel": "all", "stride": 1},
    "avg_pool2d": {"kernel": 3, "ceil": True, "count_include_pad": True},
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_says_what_it_was_made_with(kind):
    arguments = ARGUMENTS.get(kind, {})
    layer = LAYERS[kind](**arguments)
    assert layer.arguments() == arguments
    (entry,) = plain_entries([layer])
    assert json.loads(json.dumps(entry)) == entry
    again = LAYERS[kind](**layer.arguments())
    assert vars(again) == vars(layer)
    assert (
        repr(again) == repr(layer) == f"{type(layer).__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
    )


@pytest.mark.parametrize("join", JOINS)
def test_entries_written_as_data_build_the_same_network(ops, join):
    entries = [
        Conv2D(4, kernel=(3, 2)),
        Clip(0, 1),
        {"repeat": {"times": 2, "layers": [Residual([Conv2D(4, padding=1)], ["relu"])]}},
        Branches(join, [[Conv2D(2), Conv2D(4)], ["relu"]]),
        {"add": {"branches": [[], [Conv2D(8 if join == "concat" else 4)]]}},
        {"max_pool2d": {"kernel": (2, 3)}},
        "flatten",
        Dense("classes"),
    ]
    plain = plain_entries(entries)
    first, second = (
        build_model({"layers": chosen}, ops, (8, 6, 2), 3, seed=1)
        for chosen in (entries, json.loads(json.dumps(plain)))
    )
    assert [node.name for node in first.graph.nodes] == [node.name for node in second.graph.nodes]
    assert [node.inputs for node in first.graph.nodes] == [node.inputs for node in second.graph.nodes]
    for name, tensor in first.state().items():
        assert_array_equal(tensor, second.state()[name])


# --- between Python and the commands ----------------------------------------------------------------------------------


@pytest.fixture
def finished(command, workplace):  # noqa: F811
    """The working directory of a finished run of cnn.train in `out`."""
    assert command("cnn.train", *QUICK, "backend=cpu", "hydra.run.dir=out").status == 0
    return workplace


def pack_of(folder):
    (pack,) = (folder / "packs").iterdir()
    splits = np.load(pack / "splits.npy")
    names = json.loads((pack / "pack.json").read_text())["split_names"]
    images, labels = np.load(pack / "images.npy"), np.load(pack / "labels.npy")
    return pack, {name: (images[splits == i], np.array(CLASSES)[labels[splits == i]]) for i, name in enumerate(names)}


def test_a_run_of_the_command_is_loaded_and_trains_on(finished):
    classifier = loaded(finished / "out")
    _, splits = pack_of(finished)
    metrics = json.loads((finished / "out" / "metrics.json").read_text())
    assert classifier.score(*splits["test"]) == pytest.approx(metrics["test_accuracy"])
    assert classifier.score(*splits["validation"]) == pytest.approx(metrics["val_accuracy"])
    assert classifier.classes_.tolist() == list(CLASSES)
    assert "conv2d_2" in classifier.report(*splits["test"]).html
    again = clone(classifier).set_params(validation=splits["validation"]).fit(*splits["train"])
    with safe_open(finished / "out" / BEST, framework="numpy") as file:  # the same training, to the bit
        for name, tensor in again.model_.state().items():
            assert_array_equal(tensor, file.get_tensor(name))
    with pytest.raises(ValueError, match=r"holds a run of cnn\.train"):
        classifier.save(finished / "out")


def test_the_commands_take_what_was_saved(command, finished, tmp_path):  # noqa: F811
    pack, splits = pack_of(finished)
    classifier = small(epochs=8).fit(*splits["train"])
    classifier.save("saved")
    assert "give pack=FOLDER" in command("cnn.evaluate", "run=saved").error
    outcome = command("cnn.evaluate", "run=saved", f"pack={pack}", "split=test")
    assert outcome.status == 0
    assert "these images may have been in its training data" in " ".join(outcome.out.split())
    scores = json.loads((finished / "saved" / "evaluation_test.json").read_text())
    assert scores["accuracy"] == pytest.approx(classifier.score(*splits["test"]))
    path = finished / "data" / "fer2013" / "test" / "sad" / "00.png"
    assert command("cnn.predict", "run=saved", f"images={path}", "csv=table.csv").status == 0
    row = (finished / "table.csv").read_text().splitlines()[1].split(",")
    expected = classifier.predict_proba(np.asarray(Image.open(path))[None])[0]
    assert_allclose([float(value) for value in row[2:]], expected, atol=1e-6)


def test_the_commands_refuse_what_does_not_fit(command, finished):  # noqa: F811
    pack, _ = pack_of(finished)
    X, y = stripes(30)
    small(epochs=1).fit(X, y).save("others")
    assert "takes images of (6, 9, 1)" in command("cnn.evaluate", "run=others", f"pack={pack}").error
    small(epochs=1).fit(X / 255, y).save("floats")
    assert "floating-point numbers" in command("cnn.evaluate", "run=floats", f"pack={pack}").error
    small(epochs=1, model="mlp").fit(X.reshape(30, -1), y).save("vectors")
    Image.fromarray(np.zeros((6, 9), np.uint8)).save("one.png")
    assert "trained on vectors" in command("cnn.predict", "run=vectors", "images=one.png").error
    small(epochs=1).fit(np.stack([X, X], axis=-1), y).save("pairs")
    assert "images of 2 channels" in command("cnn.predict", "run=pairs", "images=one.png").error


def test_predict_takes_images_that_are_not_square(command, finished):  # noqa: F811
    X, y = stripes(60, (6, 9))
    classifier = small().fit(X, y)
    classifier.save("wide")
    Image.fromarray(X[0]).save("one.png")
    assert command("cnn.predict", "run=wide", "images=one.png", "csv=table.csv").status == 0
    row = (finished / "table.csv").read_text().splitlines()[1].split(",")
    assert_allclose([float(value) for value in row[2:]], classifier.predict_proba(X[:1])[0], atol=1e-6)


def test_a_network_in_bfloat16_is_loaded_as_one(tmp_path):
    X, y = stripes(60)
    with pytest.warns(UserWarning, match="bfloat16 is emulated on a CPU, slower than float32"):
        classifier = small(precision="bfloat16").fit(X, y)
    classifier.save(tmp_path)
    there = loaded(tmp_path)
    assert there.get_params()["precision"] == there.model_.storage == classifier.model_.storage == "bfloat16"
    for other in (there, pickle.loads(pickle.dumps(classifier))):
        assert_array_equal(other.predict_proba(X), classifier.predict_proba(X))
    full = small().fit(X, y)
    assert full.model_.storage == small(precision="auto").fit(X, y).model_.storage == "float32"  # no GPU computes
    found = classifier.predict_proba(X)
    assert (found != full.predict_proba(X)).any()
    assert_allclose(found, full.predict_proba(X), atol=0.1)


def test_a_folder_from_before_precisions_is_of_float32_and_an_unknown_one_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    tensors, metadata = load_checkpoint(tmp_path / BEST)
    recorded = metadata["trainer"].pop("precision")
    assert recorded == "float32"
    save_checkpoint(tmp_path / BEST, tensors, metadata)
    assert loaded(tmp_path).model_.storage == "float32"
    metadata["trainer"]["precision"] = "float8"
    save_checkpoint(tmp_path / BEST, tensors, metadata)
    with pytest.raises(ValueError, match="precision is 'float8'; choose one of"):
        loaded(tmp_path)
