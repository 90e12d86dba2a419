"""A trained estimator: its probabilities, feature maps, report, words, and how it travels."""

from __future__ import annotations

import copy
import html
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from api.conftest import small, stripes
from cnn import Classifier
from cnn.api.network import shared_backend
from cnn.layers import Conv2D, Layer


def test_probabilities_do_not_depend_on_the_examples_beside(fitted, rng):
    X, _ = stripes(70, seed=2)
    together = fitted.predict_proba(X)
    assert_allclose(together.sum(axis=1), 1, rtol=1e-12)
    assert_allclose(np.concatenate([fitted.predict_proba(X[i : i + 1]) for i in range(70)]), together, atol=1e-5)
    order = rng.permutation(70)
    assert_allclose(fitted.predict_proba(X[order]), together[order], atol=1e-5)
    many = np.tile(X, (70, 1, 1))  # more than are sent to the backend together
    assert_allclose(fitted.predict_proba(many), np.tile(together, (70, 1)), atol=1e-5)


def test_the_dtype_of_the_same_images_does_not_matter(fitted):
    X, _ = stripes(20, seed=2)
    for same in (X.astype(float), X.astype(np.int32), X[..., None], X.tolist()):
        assert_allclose(fitted.predict_proba(same), fitted.predict_proba(X), atol=1e-5)


def test_backends_agree(fitted):
    X, _ = stripes(20, seed=2)
    expected, moved = fitted.predict_proba(X), copy.deepcopy(fitted).set_params(backend="numpy")
    assert_allclose(moved.predict_proba(X), expected, atol=1e-5)
    assert moved.model_.ops.name == "numpy"
    assert_allclose(moved.set_params(backend="cpu").predict_proba(X), expected, atol=1e-6)


def test_feature_maps_are_those_of_each_node(fitted):
    X, _ = stripes(4)
    maps = fitted.feature_maps(X)
    assert list(maps) == [node.name for node in fitted.model_.graph.nodes]
    assert maps["conv2d_2"].shape == (4, 3, 5, 8)
    assert_array_equal(maps["relu_1"], np.maximum(maps["batch_norm_1"], 0))
    logits = maps["dense_1"].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_allclose(fitted.predict_proba(X), probabilities, atol=1e-5)
    assert list(fitted.feature_maps(X, ["relu_2"])) == ["relu_2"]
    with pytest.raises(KeyError, match="there is no node 'relu_9'; the nodes are: conv2d_1"):
        fitted.feature_maps(X, ["relu_9"])


def test_it_says_what_it_is_before_and_after_training(fitted):
    assert repr(small(model="lenet", threads=None)).startswith("Classifier(backend='cpu', batch_size=16")
    text = repr(fitted)
    assert "Conv2D(filters=6, bias=False)" in text
    assert re.search(r"conv2d_2 +│ 3 × 5 × 8 +│ +440 │", text)
    assert "545 parameters, 533 trainable, 12 running statistics" in text


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["copy", "pickle"])
def test_it_travels_whole(fitted, travel):
    X, y = stripes(30, seed=3)
    there = travel(fitted)
    assert_array_equal(there.predict_proba(X), fitted.predict_proba(X))
    assert repr(there) == repr(fitted)
    assert there.history_ == fitted.history_
    for name, tensor in there.fit(X, y).model_.state().items():
        assert tensor.shape == fitted.model_.state()[name].shape


class Twice(Layer):
    """A layer of one's own, with a parameter."""

    def output_shape(self, input_shape):
        return input_shape

    def parameters(self, input_shape, init="he_normal"):
        from cnn.layers import Parameter  # noqa: PLC0415

        return {"weight": Parameter((input_shape[-1],), 2.0)}

    def forward(self, params, x, ctx):
        return x * params["weight"], x

    def backward(self, params, saved, dy, grads, ctx):
        grads["weight"][...] = (dy * saved).reshape(-1, dy.shape[-1]).sum(axis=0)
        return dy * params["weight"]


def test_a_layer_of_ones_own_gets_a_name_of_its_own():
    model = [Twice(), Conv2D(4), Twice(), "relu", "flatten", Twice(), {"dense": "classes"}]
    classifier = small(model=model, epochs=12).fit(*stripes(60))
    assert classifier.score(*stripes(60)) > 0.8
    names = [name for name in classifier.model_.state() if name.startswith("twice")]
    assert names == [f"twice_{i}.weight" for i in (1, 2, 3)]
    assert (classifier.model_.state()["twice_2.weight"] != 2).all()
    X, _ = stripes(10)
    there = pickle.loads(pickle.dumps(classifier))
    assert_array_equal(there.predict_proba(X), classifier.predict_proba(X))


def test_a_layer_called_as_one_of_ours_does_not_meet_it():
    own = type("Conv2D", (Twice,), {})()
    classifier = small(model=[Conv2D(3), own, "flatten", {"dense": "classes"}], epochs=1).fit(*stripes(30))
    state = classifier.model_.state()
    assert (state["conv2d_1.weight"].shape, state["conv2d_2.weight"].shape) == ((3, 3, 1, 3), (3,))


@pytest.mark.parametrize("names", [["a.b"], ["moments", "mean"]], ids=str)
def test_names_of_tensors_that_would_meet_are_refused(names):
    from cnn.layers import BatchNorm, Parameter  # noqa: PLC0415

    class Own(BatchNorm):
        def parameters(self, input_shape, init="he_normal"):
            return {name: Parameter((3,), 0.0) for name in names}

    with pytest.raises(ValueError, match=f"calls its tensors .*not '{names[0]}'"):
        small(model=[Own(), "flatten", {"dense": "classes"}]).fit(*stripes(30))


# --- progress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verbose", "lines"), [("auto", 0), (False, 0), (True, 2)])
def test_progress_is_quiet_where_nobody_watches(capfd, verbose, lines):
    small(epochs=2, verbose=verbose).fit(*stripes(30))
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == lines
    assert not err
    if lines:
        assert re.match(r"epoch   2  train loss [\d.]+ acc [\d.]+  lr", out.splitlines()[1])


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small(validation=0.2).fit(*stripes(60))
    assert not list(tmp_path.iterdir())


# --- report -----------------------------------------------------------------------------------------------------------


def test_a_report_shows_itself_in_a_frame_and_is_a_file(fitted, tmp_path):
    X, y = stripes(40, seed=4)
    y[:3] = "left"
    report = fitted.report(X, y, split="second")
    assert report.scores.accuracy == pytest.approx(fitted.score(X, y))
    shown = report._repr_html_()
    page = html.unescape(re.fullmatch(r'<iframe srcdoc="([^"]*)" [^<>]*></iframe>', shown, re.DOTALL)[1])
    assert page == report.html
    for part in ("<!doctype html>", "of the <strong>second</strong> split", "conv2d_2", "middle", "majority guess"):
        assert part in page
    assert page.count('role="img"') >= 3  # curves and the reliability diagram
    assert "Grad-CAM" in page
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page
    assert re.match(r"network, 3 classes: accuracy 0\.\d{4} \(95 % interval", repr(report))


def test_a_report_of_vectors_and_of_floats():
    X, y = stripes(40)
    assert "<img" in small().fit(X / 7, y).report(X / 7, y).html
    flat = X.reshape(40, -1)
    page = Classifier(epochs=2).fit(flat, y).report(flat, y).html
    assert "<img" not in page
    assert page.count('role="img"') >= 3


def test_estimators_share_a_backend():
    assert shared_backend("cpu", 1) is small().fit(*stripes(30)).model_.ops
