"""A network whose layers do their neighbours' work is the same network, number by number."""

import numpy as np
import pytest

from cnn.layers.relu import ReLU
from cnn.models import build_model, builder
from cnn.models.summary import summary_rows

IMAGE, CLASSES, BATCH = (9, 8, 3), 4, 20
CONV = {"conv2d": {"filters": 6}}
END = ["flatten", {"dense": {"units": 9, "l2": 0.01}}, "relu", {"dropout": 0.3}, {"dense": "classes"}]
NETWORKS = {
    "first": [CONV, "relu", *END],
    "strided_without_bias": [CONV, {"conv2d": {"filters": 4, "stride": 2, "bias": False}}, "relu", *END],
    "grouped": [CONV, "relu", {"conv2d": {"filters": 4, "groups": 2, "kernel": 1}}, "relu", *END],
    "depthwise": [CONV, {"depthwise_conv2d": {"multiplier": 2}}, "relu", *END],
    "norm": [CONV, "batch_norm", "relu", CONV, "batch_norm", "relu", {"max_pool2d": 2}, *END],
    "norm_pooled": [CONV, "relu", "batch_norm", {"max_pool2d": 2}, CONV, "batch_norm", {"max_pool2d": [3, 2]}, *END],
    "norm_pooled_with_padding": [
        CONV,
        "batch_norm",
        "relu",
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": 1}},
        *END,
    ],
    "norm_behind_relu": [
        CONV,
        "relu",
        "batch_norm",
        "flatten",
        {"dense": 8},
        "relu",
        "batch_norm",
        {"dense": "classes"},
    ],
    "norm_of_vectors": ["flatten", {"dense": 8}, "batch_norm", "relu", {"dense": "classes"}],
    "twice": [CONV, "relu", "relu", *END],
    "not_fused": ["relu", {"max_pool2d": 2}, "relu", CONV, {"dropout": 0.2}, "relu", *END],
    "at_the_end": [*END, "relu"],
    "residual": [
        CONV,
        "relu",
        {
            "residual": {
                "layers": [CONV, "batch_norm", "relu", CONV, "relu", {"residual": {"layers": ["relu", CONV, "relu"]}}],
                "shortcut": [{"conv2d": {"filters": 6, "kernel": 1}}, "relu"],
            }
        },
        "relu",
        *END,
    ],
}


def build(ops, layers, dtype="float32"):
    return build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=1, dtype=dtype)


@pytest.fixture
def pair(ops, monkeypatch):
    """Build a network twice: as it is, and with every layer left to itself."""

    def make(layers, dtype="float32"):
        fused = build(ops, layers, dtype)
        with monkeypatch.context() as patch:
            patch.setattr(builder, "fuse", lambda root, ops: None)
            return fused, build(ops, layers, dtype)

    return make


def relus(model):
    return [leaf for leaf in model.root.leaves() if isinstance(leaf, ReLU)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_fused_network_computes_the_same_numbers(ops, pair, layers, dtype):
    models, rng = pair(layers, dtype), np.random.default_rng(5)
    x, targets = rng.normal(size=(BATCH, *IMAGE)).astype(dtype), np.eye(CLASSES, dtype=dtype)[np.arange(BATCH) % 4]
    results = []
    for model in models:
        steps = []
        for step in range(2):
            logits = model.forward(x, True, step)
            loss, dlogits = ops.softmax_cross_entropy(logits, targets, np.ones(BATCH, dtype))
            model.backward(dlogits)
            steps += [logits, loss, *(np.array(parameter.grad) for parameter in model.parameters.values())]
            for parameter in model.parameters.values():
                parameter.value -= 0.1 * parameter.grad
        results.append([*steps, model.forward(x, False), *model.state().values()])
    pooled = any(getattr(leaf, "pooling", None) for leaf in models[0].root.leaves())
    for fused, apart in zip(*results, strict=True):
        if pooled:  # the sums of a batch norm's gradient run over the winners alone, in another order
            tolerance = {"float32": 1e-4, "float64": 1e-11}[dtype]
            np.testing.assert_allclose(fused, apart, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(fused, apart)


def test_what_is_fused(pair):
    def fused(name):
        model, apart = pair(NETWORKS[name])
        assert not any(relu.fused for relu in relus(apart))
        assert not any(leaf.relu for leaf in apart.root.leaves())
        leaves = model.root.leaves()
        assert [leaf.name for leaf in leaves] == [leaf.name for leaf in apart.root.leaves()]
        assert sum(leaf.relu for leaf in leaves) == sum(relu.fused for relu in relus(model))
        return [relu.fused for relu in relus(model)]

    assert fused("first") == [True, True]
    assert fused("norm") == [True, True, True]
    assert fused("twice") == [True, False, True]
    assert fused("not_fused") == [False, False, False, True]
    assert fused("at_the_end") == [True, True]
    # The one after the sum stands alone, and so does the first of the inner body.
    assert fused("residual") == [True, True, True, False, True, True, False, True]


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_fusing_changes_neither_summary_nor_state(pair, layers):
    fused, apart = pair(layers)
    assert summary_rows(fused) == summary_rows(apart)
    assert fused.root.macs(IMAGE) == apart.root.macs(IMAGE)
    assert list(fused.state()) == list(apart.state())


def kept(model):
    """The arrays that a network's layers keep from a forward pass in training, each once."""
    arrays = {}
    for leaf in model.root.leaves():
        for value in vars(leaf).values():
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    owner = array.base if isinstance(array.base, np.ndarray) else array
                    arrays[id(owner)] = owner
    return sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_fused_network_keeps_no_more_and_frees_it(pair, layers):
    x = np.ones((BATCH, *IMAGE), np.float32)
    sizes = []
    for model in pair(layers):
        logits = model.forward(x, True)
        sizes.append(kept(model))
        model.backward(np.ones_like(logits))
        assert kept(model) == 0
        model.forward(x, False)
        assert kept(model) == 0
    assert sizes[0] <= sizes[1]
