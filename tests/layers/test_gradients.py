"""Whole networks, forward and back, in float64: every parameter's gradient against central differences."""

import numpy as np
import pytest

from cnn.layers import LAYERS
from cnn.models import build_model

IMAGE = (7, 6, 2)
CLASSES = 3
BATCH = 4
STEP = 3  # of training: dropout draws the same mask each time
HEAD = ["global_avg_pool2d", {"dense": {"units": "classes"}}]

NETWORKS = {
    "conv": [{"conv2d": {"filters": 4, "kernel": 3, "stride": 2, "l2": 0.02}}, *HEAD],
    "conv_without_bias": [{"conv2d": {"filters": 4, "bias": False, "padding": "valid"}}, *HEAD],
    "conv_grouped_dilated": [{"conv2d": {"filters": 6, "kernel": [3, 2], "groups": 2, "dilation": [2, 1]}}, *HEAD],
    "conv_padded": [{"conv2d": {"filters": 3, "kernel": 2, "padding": [1, 0, 2, 1]}}, *HEAD],
    "depthwise": [{"conv2d": {"filters": 4}}, {"depthwise_conv2d": {"multiplier": 2, "kernel": 3, "l2": 0.01}}, *HEAD],
    "dense": ["flatten", {"dense": {"units": 5, "l2": 0.03}}, "silu", {"dense": {"units": "classes"}}],
    "dense_without_bias": ["flatten", {"dense": {"units": 5, "bias": False}}, "gelu", {"dense": {"units": "classes"}}],
    "batch_norm": [{"conv2d": {"filters": 4}}, {"batch_norm": {"eps": 0.001}}, "silu", *HEAD],
    "batch_norm_of_vectors": ["flatten", {"dense": 5}, "batch_norm", "gelu", {"dense": {"units": "classes"}}],
    "batch_norm_first": ["batch_norm", {"conv2d": {"filters": 4}}, *HEAD],
    "relu": [{"conv2d": {"filters": 4}}, "relu", {"conv2d": {"filters": 4}}, "relu", *HEAD],
    "relu_after_every_layer_that_takes_it": [
        {"conv2d": {"filters": 4}},
        "relu",
        {"depthwise_conv2d": {"multiplier": 2}},
        "relu",
        "batch_norm",
        "relu",
        {"residual": {"layers": [{"conv2d": {"filters": 8}}, "batch_norm", "relu"]}},
        "relu",
        "flatten",
        {"dense": 6},
        "relu",
        "batch_norm",
        "relu",
        {"dense": "classes"},
    ],
    "leaky_relu": [{"conv2d": {"filters": 4}}, {"leaky_relu": 0.2}, *HEAD],
    "elu": [{"conv2d": {"filters": 4}}, {"elu": {"alpha": 0.8}}, *HEAD],
    "gelu": [{"conv2d": {"filters": 4}}, "gelu", *HEAD],
    "silu": [{"conv2d": {"filters": 4}}, "silu", *HEAD],
    "dropout": [
        {"conv2d": {"filters": 4}},
        {"dropout": 0.3},
        "gelu",
        "flatten",
        {"dropout": 0.5},
        {"dense": "classes"},
    ],
    "dropout_of_rate_zero": [{"conv2d": {"filters": 4}}, {"dropout": 0}, *HEAD],
    "max_pool": [{"conv2d": {"filters": 4}}, {"max_pool2d": 2}, "flatten", {"dense": {"units": "classes"}}],
    "max_pool_overlapping": [
        {"conv2d": {"filters": 4}},
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": "same"}},
        *HEAD,
    ],
    "max_pool_of_all": [{"conv2d": {"filters": 4}}, {"max_pool2d": {"kernel": "all"}}, "flatten", {"dense": "classes"}],
    "avg_pool": [
        {"conv2d": {"filters": 4}},
        {"avg_pool2d": {"kernel": [2, 3], "padding": "same"}},
        "flatten",
        {"dense": "classes"},
    ],
    "residual": [{"conv2d": {"filters": 4}}, {"residual": {"layers": [{"conv2d": {"filters": 4}}, "silu"]}}, *HEAD],
    "residual_with_shortcut": [
        {"conv2d": {"filters": 4}},
        {
            "residual": {
                "layers": [{"conv2d": {"filters": 6, "stride": 2}}, "batch_norm", "gelu", {"conv2d": {"filters": 6}}],
                "shortcut": [{"conv2d": {"filters": 6, "kernel": 1, "stride": 2, "bias": False}}, "batch_norm"],
            }
        },
        "silu",
        *HEAD,
    ],
    "residual_in_residual": [
        {"conv2d": {"filters": 4}},
        {"residual": {"layers": ["gelu", {"residual": {"layers": ["batch_norm", {"conv2d": {"filters": 4}}]}}]}},
        *HEAD,
    ],
    "residual_first": [{"residual": {"layers": [{"conv2d": {"filters": 2}}, "silu"]}}, *HEAD],
    "residual_first_with_shortcut": [
        {"residual": {"layers": [{"conv2d": {"filters": 3}}], "shortcut": [{"conv2d": {"filters": 3, "kernel": 1}}]}},
        *HEAD,
    ],
    "repeat": [{"repeat": {"times": 3, "layers": [{"conv2d": {"filters": 4, "l2": 0.01}}, "silu"]}}, *HEAD],
    "repeat_of_residuals": [
        {"conv2d": {"filters": 4}},
        {"repeat": {"times": 2, "layers": [{"residual": {"layers": [{"conv2d": {"filters": 4}}, "gelu"]}}]}},
        *HEAD,
    ],
    "everything": [
        {"conv2d": {"filters": 4, "l2": 0.01}},
        "batch_norm",
        "silu",
        {"max_pool2d": {"kernel": 2, "stride": 1}},
        {"residual": {"layers": [{"depthwise_conv2d": {}}, {"conv2d": {"filters": 4, "kernel": 1}}, {"dropout": 0.2}]}},
        {"elu": 1.0},
        {"avg_pool2d": 2},
        "flatten",
        {"dense": {"units": 6, "l2": 0.02}},
        {"leaky_relu": 0.1},
        "batch_norm",
        {"dropout": 0.3},
        {"dense": {"units": "classes"}},
    ],
}


def kinds(entries):
    for entry in entries:
        name, arguments = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        yield name
        if name in ("repeat", "residual"):
            yield from kinds(arguments["layers"])


def build(ops, layers, dtype="float64", seed=1):
    return build_model({"name": "tiny", "layers": layers}, ops, IMAGE, CLASSES, seed, dtype)


def objective(model, x, targets):
    """Loss with penalties: what the gradients belong to."""
    logits = model.forward(x, True, STEP)
    loss, dlogits = model.ops.softmax_cross_entropy(logits, targets, np.linspace(0.5, 2, BATCH))
    return float(loss) + float(model.penalty()), dlogits


def test_every_layer_is_in_a_network():
    assert {kind for layers in NETWORKS.values() for kind in kinds(layers)} == {*LAYERS, "repeat", "residual"}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_gradient_of_every_parameter(ops, layers):
    model, rng, step = build(ops, layers), np.random.default_rng(3), 1e-5
    for parameter in model.parameters.values():  # away from zero biases and unit gammas
        parameter.value += 0.1 * rng.normal(size=parameter.value.shape)
    x, targets = rng.normal(size=(BATCH, *IMAGE)), rng.dirichlet(np.ones(CLASSES), BATCH)
    _, dlogits = objective(model, x, targets)
    model.backward(dlogits)
    for name, parameter in model.parameters.items():
        value, gradient = parameter.value, np.array(parameter.grad)
        assert gradient.shape == value.shape
        assert gradient.dtype == np.float64
        elements = rng.permutation(value.size)[:12]
        measured = np.empty(len(elements))
        for i, element in enumerate(elements):
            original = value.flat[element]
            value.flat[element] = original + step
            upper, _ = objective(model, x, targets)
            value.flat[element] = original - step
            lower, _ = objective(model, x, targets)
            value.flat[element] = original
            measured[i] = (upper - lower) / (2 * step)
        computed = gradient.reshape(-1)[elements]
        norms = np.linalg.norm(computed) + np.linalg.norm(measured)
        # A bias in front of a batch norm moves nothing: its gradient is rounding error.
        assert np.linalg.norm(computed - measured) < 1e-6 * norms + 1e-9, name


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_float32_gradients_are_those_of_float64(ops, layers):
    x, targets = np.random.default_rng(3).normal(size=(BATCH, *IMAGE)), np.eye(CLASSES)[[0, 1, 2, 0]]
    gradients = {}
    for dtype in ("float32", "float64"):
        model = build(ops, layers, dtype)
        logits = model.forward(x.astype(dtype), True, STEP)
        _, dlogits = ops.softmax_cross_entropy(logits, targets.astype(dtype), np.ones(BATCH, dtype))
        model.backward(dlogits)
        gradients[dtype] = np.concatenate([p.grad.reshape(-1) for p in model.parameters.values()])
        assert logits.dtype == gradients[dtype].dtype == dtype
        assert all(p.value.dtype == dtype for p in model.parameters.values())
    difference = np.linalg.norm(gradients["float32"] - gradients["float64"])
    assert difference < 2e-5 * np.linalg.norm(gradients["float64"])


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_network_leaves_its_input_and_the_gradient_it_is_given_alone(ops, layers):
    model, rng = build(ops, layers), np.random.default_rng(3)
    x, dlogits = rng.normal(size=(BATCH, *IMAGE)), rng.normal(size=(BATCH, CLASSES))
    kept_x, kept_dlogits = x.copy(), dlogits.copy()
    model.forward(x, True, STEP)
    model.backward(dlogits)
    np.testing.assert_array_equal(x, kept_x)
    np.testing.assert_array_equal(dlogits, kept_dlogits)


def test_a_second_backward_overwrites_the_gradients_of_the_first(ops):
    model, rng = build(ops, NETWORKS["everything"]), np.random.default_rng(3)
    x, dlogits = rng.normal(size=(BATCH, *IMAGE)), rng.normal(size=(BATCH, CLASSES))
    found = []
    for _ in range(2):
        model.forward(x, True, STEP)
        model.backward(dlogits)
        found.append({name: np.array(p.grad) for name, p in model.parameters.items()})
    for name, gradient in found[0].items():
        np.testing.assert_array_equal(found[1][name], gradient)


def test_penalty_is_the_weighted_sum_of_squares(ops):
    model = build(ops, NETWORKS["everything"])
    by_hand = sum(p.l2 * np.sum(p.value**2) for p in model.parameters.values())
    assert sorted(p.l2 for p in model.parameters.values() if p.l2) == [0.01, 0.02]
    assert float(model.penalty()) == pytest.approx(by_hand, rel=1e-12)
    assert build(ops, NETWORKS["conv_padded"]).penalty() == 0.0
