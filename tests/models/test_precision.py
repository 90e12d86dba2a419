"""Storage in bfloat16: what is rounded, what is not, and that a network still trains."""

import numpy as np
import pytest

from cnn.backends import Ops
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


class Products(Ops):
    """The reference, which records the operands of its products."""

    def __init__(self):
        self.seen = []

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith(("conv2d", "dense")):
            return found

        def recorded(*arguments, **options):
            self.seen.append((name, *arguments[:2]))
            return found(*arguments, **options)

        return recorded


GATED = [
    CONV,
    "batch_norm",
    "silu",
    {"residual": {"layers": [CONV, "gelu", {"depthwise_conv2d": 1}, {"group_norm": 2}]}},
    {"multiply": {"branches": [[], ["global_avg_pool2d", {"dense": 4}, "sigmoid"]]}},
    "flatten",
    {"dense": 5},
    "tanh",
    "batch_norm",
    {"dense": "classes"},
]


def test_products_have_rounded_operands_but_for_those_of_the_last_block(rng):
    ops = Products()
    model = build(ops, GATED, "float32", storage="bfloat16")
    x = rng.normal(size=(BATCH, *IMAGE)).astype(np.float32)
    logits, saved = model.forward(x, True, CLOCK)
    model.backward(saved, rng.normal(size=logits.shape).astype(np.float32))
    for kind in ("forward", "backward"):
        calls = [call for call in ops.seen if ("backward" in call[0]) == (kind == "backward")]
        last = calls.pop() if kind == "forward" else calls.pop(0)
        if kind == "backward":
            assert not is_bfloat16(calls.pop(0)[1])  # the gradients of both operands, from that of the logits
        assert len(calls) == (5 if kind == "forward" else 9)  # no gradient of the images
        for name, *operands in calls:
            assert all(map(is_bfloat16, operands)), name
        assert last[0].startswith("dense")
        if kind == "forward":
            np.testing.assert_array_equal(last[2], model.values.tensors["dense_3.weight"])
            assert not is_bfloat16(last[2])
    ops.seen.clear()
    unsettle(model, rng)
    InferenceModel(model).forward(x)  # its norms are multiplied into the weights, which are rounded after that
    *calls, last = ops.seen
    assert sum(not is_bfloat16(w) for _, _, w in calls) == 1  # folding itself multiplies
    assert not is_bfloat16(last[2])


def test_rounded_weights_follow_a_loaded_state_and_update_rounded(ops, rng):
    one, two = (build(ops, GATED, "float32", seed=seed, storage="bfloat16") for seed in (1, 2))
    x = rng.normal(size=(BATCH, *IMAGE)).astype(np.float32)
    wanted = one.forward(x, False)[0]
    assert (two.forward(x, False)[0] != wanted).any()
    place = two.rounded.flat
    two.load_state(one.state(), "one")
    np.testing.assert_array_equal(two.forward(x, False)[0], wanted)
    assert two.rounded.flat is place  # a captured step keeps reading it
    two.values.flat += np.float32(0.1)
    two.update_rounded()
    three = build(ops, GATED, "float32", storage="bfloat16")
    three.load_state(two.state(), "two")
    np.testing.assert_array_equal(two.forward(x, False)[0], three.forward(x, False)[0])


def test_feature_maps_are_those_of_float32(ops, rng):
    x = rng.normal(size=(BATCH, *IMAGE)).astype(np.float32)
    maps = [build(ops, GATED, "float32", storage=storage).feature_maps(x) for storage in ("float32", "bfloat16")]
    for name, one in maps[0].items():
        np.testing.assert_array_equal(one, maps[1][name])


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
