"""Outputs kept in bfloat16: what is rounded, what is not, and that a network still trains."""

import numpy as np
import pytest

from cnn.layers import Layer
from cnn.models import InferenceModel
from models.networks import BATCH, CLASSES, CLOCK, CONV, FLAT, HEAD, IMAGE, NETWORKS, build, unsettle


def is_bfloat16(x):
    """Whether every value is one: the lower half of its float32 is zero."""
    return x.dtype == np.float32 and not (np.ascontiguousarray(x).view(np.uint32) & 0xFFFF).any()


class Watch(Layer):
    """Passes on what it gets, and remembers it: the output of the block before, and the gradient from behind."""

    seen: list = []  # noqa: RUF012 (the record of one test)

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, x, ctx):
        self.seen.append(("output", x))
        return x.copy(), None

    def backward(self, params, saved, dy, grads, ctx):
        self.seen.append(("gradient", dy))
        return dy * np.float32(1.01)


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr(Watch, "seen", [])
    return Watch


LAYERS = [
    CONV,
    "relu",
    "batch_norm",
    Watch(),
    {"dropout": 0.3},
    {"max_pool2d": 2},
    Watch(),
    {"residual": {"layers": [CONV, "batch_norm"]}},
    "gelu",
    Watch(),
    "flatten",
    Watch(),
    {"dense": 5},
    "prelu",
    Watch(),
    {"dense": "classes"},
]


@pytest.mark.parametrize("storage", ["bfloat16", "float32"])
def test_outputs_of_blocks_and_their_gradients_are_rounded_and_nothing_else(ops, watched, storage, rng):
    model, x = build(ops, LAYERS, "float32", storage=storage), rng.normal(size=(BATCH, *IMAGE)).astype(np.float32)
    before = model.state()
    logits, saved = model.forward(x, True, CLOCK)
    outputs = [array for _, array in watched.seen]
    model.backward(saved, rng.normal(size=logits.shape).astype(np.float32))
    gradients = [array for kind, array in watched.seen if kind == "gradient"]
    assert len(outputs) == len(gradients) == 5
    for array in (*outputs, *gradients):
        assert is_bfloat16(array) == (storage == "bfloat16")
        assert np.count_nonzero(array) > array.size / 10  # something to round was there
    assert not is_bfloat16(logits)
    for name, gradient in model.gradients.tensors.items():
        assert not is_bfloat16(gradient) or name.endswith(".bias"), name  # a sum of few rounded numbers
    assert not is_bfloat16(model.state()["batch_norm_1.variance"])
    for name, tensor in before.items():
        if not name.endswith((".mean", ".variance")):
            np.testing.assert_array_equal(model.state()[name], tensor)


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_network_in_bfloat16_computes_about_the_same(ops, layers, rng):
    x = rng.normal(size=(5, *IMAGE)).astype(np.float32)
    results = []
    for storage in ("float32", "bfloat16"):
        model = unsettle(build(ops, layers, "float32", storage=storage), np.random.default_rng(3))
        results.append([model.forward(x, False)[0], InferenceModel(model).forward(x)])
    (wanted, _), (found, folded) = results
    scale = np.abs(wanted).max() + np.abs(wanted - wanted.mean()).max()
    for rounded in (found, folded):
        assert rounded.dtype == np.float32
        assert np.abs(rounded - wanted).max() < 0.05 * scale  # a value is rounded by 1 / 512 at most, some times over


def test_float32_is_what_it_was_without_a_storage_and_rounds_nothing(ops, rng):
    x, dlogits = (rng.normal(size=(BATCH, *shape)).astype(np.float32) for shape in (IMAGE, (CLASSES,)))
    results = []
    for options in ({}, {"storage": "float32"}):
        model = build(ops, NETWORKS["everything"], "float32", **options)
        logits, saved = model.forward(x, True, CLOCK)
        model.backward(saved, dlogits)
        results.append((np.array(logits), np.array(model.gradients.flat)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    rounded = build(ops, NETWORKS["everything"], "float32", storage="bfloat16").forward(x, True, CLOCK)[0]
    assert (rounded != results[0][0]).any()


def test_a_network_in_bfloat16_trains(ops, rng):
    """Bright left or right halves, in noise: from guessing to knowing, weights being kept in float32."""
    labels = np.arange(30) % 2
    x = rng.normal(size=(30, *IMAGE)).astype(np.float32)
    x[labels == 0, :, :3] += 1.5
    x[labels == 1, :, 3:] += 1.5
    layers = [CONV, "batch_norm", "relu", {"residual": {"layers": [CONV, "batch_norm"]}}, "relu", *FLAT]
    model, losses = build(ops, layers, "float32", storage="bfloat16"), []
    for _ in range(40):
        logits, saved = model.forward(x, True, CLOCK)
        loss, dlogits = ops.cross_entropy(logits, labels, np.ones(CLASSES, np.float32))
        model.backward(saved, dlogits)
        model.values.flat -= np.float32(0.02) * model.gradients.flat
        model.update_rounded()
        losses.append(float(loss))
    assert losses[0] > 0.5
    assert losses[-1] < 0.1
    weights = build(ops, [CONV, *HEAD], "float32", storage="bfloat16").values.flat
    assert not is_bfloat16(weights)
