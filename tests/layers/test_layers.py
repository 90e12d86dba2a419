"""What each layer promises by itself: shapes, training against inference, names, buffers."""

import numpy as np
import pytest

from cnn.backends import RandomKey
from cnn.layers import LAYERS, BuildContext
from cnn.models import build_model

# A layer, its arguments, an input shape, and the output shape worked out by hand.
SHAPES = [
    ("conv2d", {"filters": 4}, (9, 7, 3), (9, 7, 4)),
    ("conv2d", {"filters": 4, "kernel": 5, "padding": "valid"}, (9, 7, 3), (5, 3, 4)),
    ("conv2d", {"filters": 4, "stride": 2}, (9, 8, 3), (5, 4, 4)),
    ("conv2d", {"filters": 4, "stride": (3, 1), "padding": "valid"}, (9, 8, 3), (3, 6, 4)),
    ("conv2d", {"filters": 6, "groups": 3, "dilation": 2, "padding": "valid"}, (9, 8, 3), (5, 4, 6)),
    ("conv2d", {"filters": 2, "kernel": (2, 3), "padding": (1, 2, 0, 4)}, (5, 6, 1), (7, 8, 2)),
    ("depthwise_conv2d", {}, (9, 7, 3), (9, 7, 3)),
    ("depthwise_conv2d", {"multiplier": 2, "stride": 2}, (9, 7, 3), (5, 4, 6)),
    ("dense", {"units": 11}, (5,), (11,)),
    ("batch_norm", {}, (9, 7, 3), (9, 7, 3)),
    ("batch_norm", {}, (5,), (5,)),
    ("relu", {}, (9, 7, 3), (9, 7, 3)),
    ("leaky_relu", {"slope": 0.3}, (5,), (5,)),
    ("elu", {}, (9, 7, 3), (9, 7, 3)),
    ("gelu", {}, (5,), (5,)),
    ("silu", {}, (9, 7, 3), (9, 7, 3)),
    ("dropout", {"rate": 0.5}, (9, 7, 3), (9, 7, 3)),
    ("max_pool2d", {}, (9, 7, 3), (4, 3, 3)),
    ("max_pool2d", {"kernel": 3, "stride": 2, "padding": "same"}, (9, 8, 3), (5, 4, 3)),
    ("max_pool2d", {"kernel": "all"}, (9, 7, 3), (1, 1, 3)),
    ("avg_pool2d", {"kernel": (2, 3)}, (9, 7, 3), (4, 2, 3)),
    ("avg_pool2d", {"kernel": 3, "stride": 1, "padding": 1}, (9, 7, 3), (9, 7, 3)),
    ("global_avg_pool2d", {}, (9, 7, 3), (3,)),
    ("flatten", {}, (9, 7, 3), (189,)),
    ("flatten", {}, (5,), (5,)),
]


def make(ops, kind, arguments, shape, dtype="float64"):
    layer = LAYERS[kind](**arguments)
    layer.build(BuildContext(ops, seed=2, dtype=np.dtype(dtype)), shape)
    return layer


@pytest.mark.parametrize(("kind", "arguments", "shape", "expected"), SHAPES)
def test_output_shape_is_that_of_the_output_and_backward_returns_to_the_input(ops, kind, arguments, shape, expected):
    layer = make(ops, kind, arguments, shape)
    x = np.random.default_rng(0).normal(size=(2, *shape))
    assert layer.output_shape(shape) == expected
    assert layer.forward(x, train=False).shape == (2, *expected)
    y = layer.forward(x, train=True)
    assert y.shape == (2, *expected)
    assert layer.backward(np.ones_like(y)).shape == x.shape


def test_every_layer_has_its_shape_checked():
    assert {kind for kind, *_ in SHAPES} == set(LAYERS)


@pytest.mark.parametrize(("kind", "arguments", "shape", "expected"), SHAPES)
def test_inference_takes_each_example_by_itself(ops, kind, arguments, shape, expected):
    layer = make(ops, kind, arguments, shape)
    x = np.random.default_rng(0).normal(size=(3, *shape))
    together, alone = layer.forward(x, train=False), layer.forward(x[1:2], train=False)
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-12, atol=1e-12)


def test_the_first_layer_spares_itself_the_gradient_of_the_images(ops):
    for first in ({"conv2d": {"filters": 2}}, {"depthwise_conv2d": {}}):
        layers = [first, "global_avg_pool2d", {"dense": "classes"}]
        model = build_model({"name": "m", "layers": layers}, ops, (5, 5, 1), 3, seed=0)
        assert [leaf.input_needs_gradient for leaf in model.root.leaves()] == [False, True, True]


# --- batch norm ---------------------------------------------------------------------------------------------------


def test_batch_norm_moves_its_running_statistics_in_training_alone(ops):
    layer, rng = make(ops, "batch_norm", {"momentum": 0.9}, (4, 4, 2)), np.random.default_rng(1)
    assert layer.buffers["mean"].tolist() == [0, 0]
    assert layer.buffers["variance"].tolist() == [1, 1]
    mean, variance = np.zeros(2), np.ones(2)
    for _ in range(3):
        x = rng.normal(3, 2, (5, 4, 4, 2))
        layer.forward(x, train=True)
        mean = 0.9 * mean + 0.1 * x.mean(axis=(0, 1, 2))
        variance = 0.9 * variance + 0.1 * x.var(axis=(0, 1, 2))  # biased, as documented
    np.testing.assert_allclose(layer.buffers["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(layer.buffers["variance"], variance, rtol=1e-12)
    x = rng.normal(size=(5, 4, 4, 2))
    y = layer.forward(x, train=False)
    np.testing.assert_allclose(layer.buffers["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-12)


def test_batch_norm_in_training_gives_zero_mean_and_unit_deviation(ops):
    layer = make(ops, "batch_norm", {"eps": 1e-9}, (6, 6, 3))
    y = layer.forward(np.random.default_rng(1).normal(7, 3, (8, 6, 6, 3)), train=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, rtol=1e-6)


# --- dropout ------------------------------------------------------------------------------------------------------


def test_dropout_does_nothing_in_inference_and_draws_anew_at_each_step(ops):
    layer, context, x = LAYERS["dropout"](rate=0.5), BuildContext(ops, seed=2), np.ones((5, 40))
    layer.build(context, (40,))
    np.testing.assert_array_equal(layer.forward(x, train=False), x)
    first = layer.forward(x, train=True)
    context.step = 1
    second = layer.forward(x, train=True)
    assert set(np.unique(first)) == {0, 2}
    assert (first != second).any()


def test_dropout_layers_of_one_model_draw_from_streams_of_their_own(ops):
    layers = ["flatten", {"dropout": 0.5}, {"dense": 30}, {"dropout": 0.5}, {"dense": "classes"}]
    model = build_model({"name": "m", "layers": layers}, ops, (5, 6, 1), 3, seed=4, dtype="float64")
    x = np.ones((4, 5, 6, 1))
    drops = [leaf for leaf in model.root.leaves() if leaf.kind == "dropout"]
    model.context.step = 9
    masks = [drop.forward(x.reshape(4, 30), train=True) != 0 for drop in drops]
    assert (masks[0] != masks[1]).any()
    # The mask is a function of seed, stream and step alone: some stream of this model's seed repeats it.
    streams = [ops.dropout(x.reshape(4, 30), 0.5, RandomKey(4, stream, 9))[1] for stream in range(1, 9)]
    for mask in masks:
        assert sum((mask == stream).all() for stream in streams) == 1


def test_dropout_keeps_the_gradient_of_what_it_kept(ops):
    layer, rng = make(ops, "dropout", {"rate": 0.4}, (50,)), np.random.default_rng(1)
    x, dy = rng.uniform(1, 2, (3, 50)), rng.normal(size=(3, 50))
    y = layer.forward(x, train=True)
    np.testing.assert_allclose(layer.backward(dy), dy * (y / x), rtol=1e-12)


# --- names --------------------------------------------------------------------------------------------------------


def test_leaves_are_named_after_their_kind_in_order_of_execution(ops):
    layers = [
        {"repeat": {"times": 2, "layers": [{"conv2d": {"filters": 2}}, "relu"]}},
        {"residual": {"layers": [{"conv2d": {"filters": 3}}], "shortcut": [{"conv2d": {"filters": 3, "kernel": 1}}]}},
        "global_avg_pool2d",
        {"dense": "classes"},
    ]
    model = build_model({"name": "m", "layers": layers}, ops, (5, 5, 1), 3, seed=0)
    names = ["conv2d_1", "relu_1", "conv2d_2", "relu_2", "conv2d_3", "conv2d_4", "global_avg_pool2d_1", "dense_1"]
    assert [leaf.name for leaf in model.root.leaves()] == names
    assert [name for name in model.parameters if "conv2d_4" in name] == ["conv2d_4.weight", "conv2d_4.bias"]
