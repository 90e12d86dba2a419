"""What each layer promises by itself: shapes, values, gradients, and that it keeps nothing of a pass."""

import copy
import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

import cnn.layers
from backends.finite_differences import directional_error
from cnn.backends import RandomKey
from cnn.layers import JOINS, LAYERS
from cnn.models import build_model
from layers.alone import Alone, layer_of

IMAGE, VECTOR = (9, 7, 3), (5,)
# A layer, its arguments, an input shape, and the output shape worked out by hand.
CASES = [
    ("conv2d", {"filters": 4}, IMAGE, (9, 7, 4)),
    ("conv2d", {"filters": 4, "kernel": 5, "padding": "valid"}, IMAGE, (5, 3, 4)),
    ("conv2d", {"filters": 4, "stride": 2, "padding": "same_lower"}, (9, 8, 3), (5, 4, 4)),
    ("conv2d", {"filters": 4, "stride": (3, 1), "padding": "valid", "bias": False}, (9, 8, 3), (3, 6, 4)),
    ("conv2d", {"filters": 6, "groups": 3, "dilation": 2, "padding": "valid"}, (9, 8, 3), (5, 4, 6)),
    ("conv2d", {"filters": 2, "kernel": (2, 3), "padding": (1, 2, 0, 4)}, (5, 6, 1), (7, 8, 2)),
    ("depthwise_conv2d", {}, IMAGE, IMAGE),
    ("depthwise_conv2d", {"multiplier": 2, "stride": 2}, IMAGE, (5, 4, 6)),
    ("patch_whitening", {}, IMAGE, (9, 7, 54)),
    ("patch_whitening", {"kernel": (2, 1), "stride": 2, "padding": "valid"}, IMAGE, (4, 4, 12)),
    ("dense", {"units": 11}, VECTOR, (11,)),
    ("dense", {"units": 4, "bias": False}, VECTOR, (4,)),
    ("batch_norm", {}, IMAGE, IMAGE),
    ("batch_norm", {"eps": 0.1}, VECTOR, VECTOR),
    ("group_norm", {"groups": 3}, (4, 5, 6), (4, 5, 6)),
    ("group_norm", {"groups": 1}, IMAGE, IMAGE),
    ("group_norm", {"groups": 2, "eps": 0.1}, (6,), (6,)),
    ("layer_norm", {}, IMAGE, IMAGE),
    ("layer_norm", {"eps": 0.1}, VECTOR, VECTOR),
    *((kind, {}, IMAGE, IMAGE) for kind in ("relu", "relu6", "sigmoid", "tanh", "selu", "gelu", "silu", "mish")),
    ("softplus", {}, IMAGE, IMAGE),
    ("hard_swish", {}, VECTOR, VECTOR),
    ("clip", {"low": -0.5, "high": 0.7}, IMAGE, IMAGE),
    ("leaky_relu", {"slope": 0.3}, VECTOR, VECTOR),
    ("elu", {"alpha": 0.8}, IMAGE, IMAGE),
    ("prelu", {}, IMAGE, IMAGE),
    ("prelu", {"initial": -0.1}, VECTOR, VECTOR),
    ("dropout", {"rate": 0.4}, IMAGE, IMAGE),
    ("dropout", {"rate": 0}, VECTOR, VECTOR),
    ("drop_path", {"rate": 0.4}, IMAGE, IMAGE),
    ("drop_path", {"rate": 0}, VECTOR, VECTOR),
    ("max_pool2d", {}, IMAGE, (4, 3, 3)),
    ("max_pool2d", {"kernel": 3, "stride": 2, "padding": "same"}, (9, 8, 3), (5, 4, 3)),
    ("max_pool2d", {"kernel": "all"}, IMAGE, (1, 1, 3)),
    ("max_pool2d", {"kernel": 2, "ceil": True}, IMAGE, (5, 4, 3)),
    ("max_pool2d", {"kernel": 2, "dilation": 2}, IMAGE, (4, 3, 3)),
    ("avg_pool2d", {"kernel": (2, 3)}, IMAGE, (4, 2, 3)),
    ("avg_pool2d", {"kernel": 3, "stride": 1, "padding": 1}, IMAGE, IMAGE),
    ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": "same_lower", "count_include_pad": True}, IMAGE, (5, 4, 3)),
    ("avg_pool2d", {"kernel": 4, "stride": 3, "padding": 1, "ceil": True}, IMAGE, (4, 3, 3)),
    ("global_avg_pool2d", {}, IMAGE, (3,)),
    ("flatten", {}, IMAGE, (189,)),
    ("flatten", {}, VECTOR, VECTOR),
    ("add", {}, (IMAGE, IMAGE), IMAGE),
    ("multiply", {}, (VECTOR, VECTOR), VECTOR),
    ("multiply", {}, (IMAGE, (3,)), IMAGE),
    ("multiply", {}, ((3,), IMAGE), IMAGE),
    ("concat", {}, ((4, 5, 2), (4, 5, 1), (4, 5, 3)), (4, 5, 6)),
    ("concat", {}, (VECTOR, (2,)), (7,)),
]
NAMES = [f"{kind}-{arguments}-{shape}".replace(" ", "") for kind, arguments, shape, _ in CASES]
each_case = pytest.mark.parametrize(("kind", "arguments", "shape", "expected"), CASES, ids=NAMES)


def arrays(x):
    """The arrays in a batch, of which a join has several."""
    return list(x) if isinstance(x, tuple | list) else [x]


def test_every_layer_and_join_is_among_the_cases():
    assert {kind for kind, *_ in CASES} == {*LAYERS, *JOINS}


@each_case
def test_shapes_and_types_are_as_promised_and_nobodys_arrays_change(ops, kind, arguments, shape, expected, rng):
    for dtype in ("float32", "float64"):
        alone = Alone(ops, layer_of(kind, arguments), shape, dtype)
        x = alone.input(rng, 2)
        before, trained = copy.deepcopy(x), list(alone.grads)
        weights = {name: alone.params[name].copy() for name in trained}
        assert alone.layer.output_shape(shape) == expected
        assert alone.forward(x, train=False)[0].shape == (2, *expected)
        y, saved = alone.forward(x, train=True)
        dy = rng.normal(size=y.shape).astype(dtype)
        kept_y, kept_dy = y.copy(), dy.copy()
        dx = alone.backward(saved, dy)
        assert (y.shape, y.dtype) == ((2, *expected), dtype)
        for part, given in zip(arrays(dx), arrays(x), strict=True):
            assert (part.shape, part.dtype) == (given.shape, dtype)
        for name in trained:
            assert alone.grads[name].dtype == dtype
            assert np.isfinite(alone.grads[name]).all()  # filled, all of it
            np.testing.assert_array_equal(alone.params[name], weights[name])
        for part, kept in zip((*arrays(x), y, dy), (*arrays(before), kept_y, kept_dy), strict=True):
            np.testing.assert_array_equal(part, kept)


@each_case
def test_gradients_are_those_of_finite_differences(ops, kind, arguments, shape, expected, rng):
    alone = Alone(ops, layer_of(kind, arguments), shape)
    x, dy = alone.input(rng, 3), rng.normal(size=(3, *expected))
    _, saved = alone.forward(x, train=True)
    gradients = arrays(alone.backward(saved, dy))
    for place, (part, gradient) in enumerate(zip(arrays(x), gradients, strict=True)):

        def of_input(value, place=place):
            given = [*arrays(x)[:place], value, *arrays(x)[place + 1 :]]
            return alone.forward(tuple(given) if isinstance(x, tuple) else given[0], train=True)[0]

        assert directional_error(of_input, part, dy, gradient, rng, 6) < 1e-6, place
    for name, gradient in alone.grads.items():
        value = alone.params[name]

        def of_parameter(changed, name=name):
            alone.params[name] = changed
            return alone.forward(x, train=True)[0]

        assert directional_error(of_parameter, value, dy, gradient, rng, 6) < 1e-6, name
        alone.params[name] = value


@each_case
def test_inference_takes_each_example_by_itself(ops, kind, arguments, shape, expected, rng):
    alone = Alone(ops, layer_of(kind, arguments), shape)
    x = alone.input(rng, 3)
    one = tuple(part[1:2] for part in x) if isinstance(x, tuple) else x[1:2]
    together, apart = alone.forward(x, train=False)[0], alone.forward(one, train=False)[0]
    np.testing.assert_allclose(together[1:2], apart, rtol=1e-12, atol=1e-12)


@each_case
def test_nothing_stays_on_the_layer_and_passes_may_interleave(ops, kind, arguments, shape, expected, rng):
    layer = layer_of(kind, arguments)
    before = copy.deepcopy(vars(layer))
    alone = Alone(ops, layer, shape)
    batches = [(alone.input(rng, 2), rng.normal(size=(2, *expected)), step) for step in (4, 9)]

    def gradients(saved, dy, step):
        dx = alone.backward(saved, dy, step)
        return [np.array(part) for part in (*arrays(dx), *alone.grads.values())]

    apart = [gradients(alone.forward(x, True, step)[1], dy, step) for x, dy, step in batches]
    saved = [alone.forward(x, True, step)[1] for x, _, step in batches]
    layer.output_shape(shape)
    layer.macs(shape)
    alone.forward(batches[0][0], train=False)
    for place in (0, 1):
        _, dy, step = batches[place]
        for found, wanted in zip(gradients(saved[place], dy, step), apart[place], strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert vars(layer) == before


def test_one_layer_object_serves_inputs_of_different_shapes(ops, rng):
    """Its tensors are its node's: an object that stands in two places has two sets of them."""
    layer = layer_of("depthwise_conv2d", {"multiplier": 2})
    for channels in (3, 5, 3):
        assert layer.output_shape((4, 4, channels)) == (4, 4, 2 * channels)
        assert layer.parameters((4, 4, channels))["weight"].shape == (3, 3, 1, 2 * channels)
        alone = Alone(ops, layer, (4, 4, channels))
        assert alone.forward(alone.input(rng, 1), train=True)[0].shape == (1, 4, 4, 2 * channels)


# --- what the layers compute, in closed form ------------------------------------------------------------------------

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
FORMULAS = {
    "relu": ({}, lambda x: max(x, 0.0)),
    "relu6": ({}, lambda x: min(max(x, 0.0), 6.0)),
    "clip": ({"low": -1, "high": 2.5}, lambda x: sorted((-1, x, 2.5))[1]),
    "leaky_relu": (0.2, lambda x: x if x > 0 else 0.2 * x),
    "prelu": (0.3, lambda x: x if x > 0 else 0.3 * x),
    "elu": ({"alpha": 0.7}, lambda x: x if x > 0 else 0.7 * math.expm1(x)),
    "selu": ({}, lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x))),
    "gelu": ({}, lambda x: x * norm.cdf(x)),
    "silu": ({}, lambda x: x / (1 + math.exp(-x))),
    "mish": ({}, lambda x: x * math.tanh(math.log1p(math.exp(x)))),
    "softplus": ({}, lambda x: math.log1p(math.exp(x))),
    "hard_swish": ({}, lambda x: x * min(max(x + 3, 0), 6) / 6),
    "sigmoid": ({}, lambda x: 1 / (1 + math.exp(-x))),
    "tanh": ({}, math.tanh),
}


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("backend", ["ops", "engine"])
def test_an_activation_of_a_config_is_its_formula(request, backend, kind):
    arguments, formula = FORMULAS[kind]
    config = {"name": "m", "layers": [{kind: arguments}, "flatten"]}
    model = build_model(config, request.getfixturevalue(backend), (3, 5, 1), 15, seed=0, dtype="float64")
    x = np.linspace(-7.3, 7.3, 15).reshape(1, 3, 5, 1)
    expected = [formula(value) for value in x.reshape(-1)]
    np.testing.assert_allclose(model.forward(x, False)[0][0], expected, rtol=1e-12, atol=1e-12)


def test_every_activation_has_its_formula():
    pointwise = {kind for kind, layer in LAYERS.items() if layer.__module__ == "cnn.layers.activations"}
    assert pointwise == set(FORMULAS)


def pooled(image, kernel, stride, dilation, before, output_hw, value):
    """Pooling of one channel (h, w) by the definition, window by window; `value` takes coordinates and pixels."""
    y = np.empty(output_hw)
    for i, j in np.ndindex(*output_hw):
        rows, columns = (
            [at * step + tap * apart - pad for tap in range(size)]
            for at, step, apart, pad, size in zip((i, j), stride, dilation, before, kernel, strict=True)
        )
        places = list(itertools.product(rows, columns))
        inside = [image[p] for p in places if 0 <= p[0] < image.shape[0] and 0 <= p[1] < image.shape[1]]
        y[i, j] = value(places, inside)
    return y


POOLINGS = [
    # arguments; kernel, stride, dilation; padding (top, bottom, left, right) and output pixels worked out by hand
    ({"kernel": 2, "ceil": True}, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (4, 3)),
    ({"kernel": 3, "stride": 2, "padding": "same"}, (3, 3), (2, 2), (1, 1), (1, 1, 0, 1), (4, 3)),
    ({"kernel": 3, "stride": 2, "padding": "same_lower"}, (3, 3), (2, 2), (1, 1), (1, 1, 1, 0), (4, 3)),
    ({"kernel": (2, 3), "stride": 1, "dilation": (3, 2)}, (2, 3), (1, 1), (3, 2), (0, 0, 0, 0), (4, 2)),
    ({"kernel": 3, "stride": 3, "padding": (1, 0, 0, 1)}, (3, 3), (3, 3), (1, 1), (1, 0, 0, 1), (2, 2)),
    ({"kernel": 3, "stride": 3, "padding": 1, "ceil": True}, (3, 3), (3, 3), (1, 1), (1, 1, 1, 1), (3, 3)),
    ({"kernel": 2, "stride": 3, "padding": 1, "dilation": 2}, (2, 2), (3, 3), (2, 2), (1, 1, 1, 1), (3, 2)),
]


@pytest.mark.parametrize("backend", ["ops", "engine"])
@pytest.mark.parametrize(("arguments", "kernel", "stride", "dilation", "padding", "output_hw"), POOLINGS, ids=str)
def test_a_pooling_layer_is_its_definition(
    request, backend, arguments, kernel, stride, dilation, padding, output_hw, rng
):
    image = rng.normal(size=(7, 6))
    top, bottom, left, right = padding

    def padded(place):  # the image with its padding, without what `ceil` reaches beyond
        return -top <= place[0] < 7 + bottom and -left <= place[1] < 6 + right

    pools = {
        ("max_pool2d", None): lambda places, inside: max(inside),
        ("avg_pool2d", False): lambda places, inside: sum(inside) / len(inside),
        ("avg_pool2d", True): lambda places, inside: sum(inside) / sum(map(padded, places)),
    }
    for (kind, counted), value in pools.items():
        more = {} if counted is None else {"count_include_pad": counted}
        alone = Alone(request.getfixturevalue(backend), layer_of(kind, arguments | more), (7, 6, 1))
        found = alone.forward(image[None, :, :, None], train=False)[0][0, :, :, 0]
        wanted = pooled(image, kernel, stride, dilation, (top, left), output_hw, value)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("kind", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"kernel": 2, "stride": 2, "padding": 2}, (6, 6, 1)),
        ({"kernel": 2, "stride": 1, "padding": 1, "dilation": 3}, (2, 2, 1)),  # taps left and right of the image
        ({"kernel": 2, "stride": 1, "padding": (0, 0, 2, 2), "dilation": 5}, (6, 4, 1)),
    ],
)
def test_a_window_that_sees_nothing_but_padding_is_refused(kind, arguments, shape):
    with pytest.raises(ValueError, match="sees nothing but padding"):
        layer_of(kind, arguments).output_shape(shape)


def test_group_and_layer_norm_by_hand(ops, rng):
    x = rng.normal(3, 2, size=(2, 4, 3, 6))

    def normalized(values, axes, eps):
        return (values - values.mean(axes, keepdims=True)) / np.sqrt(values.var(axes, keepdims=True) + eps)

    cases = {
        ("group_norm", 3): normalized(x.reshape(2, 12, 3, 2), (1, 3), 0.01).reshape(x.shape),
        ("group_norm", 1): normalized(x, (1, 2, 3), 0.01),
        ("group_norm", 6): normalized(x, (1, 2), 0.01),
        ("layer_norm", None): normalized(x, 3, 0.01),
    }
    for (kind, groups), expected in cases.items():
        arguments = {"eps": 0.01} if groups is None else {"eps": 0.01, "groups": groups}
        alone = Alone(ops, layer_of(kind, arguments), (4, 3, 6))
        wanted = expected * alone.params["gamma"] + alone.params["beta"]
        for train in (False, True):
            np.testing.assert_allclose(alone.forward(x, train)[0], wanted, rtol=1e-12, atol=1e-12)


# --- batch norm ---------------------------------------------------------------------------------------------------


def test_batch_norm_moves_its_running_statistics_in_training_alone(ops, rng):
    alone = Alone(ops, layer_of("batch_norm", {"momentum": 0.9}), (4, 4, 2))
    assert alone.params["moments"].tolist() == [[0, 0], [1, 1]]
    mean, variance = np.zeros(2), np.ones(2)
    for _ in range(3):
        x = rng.normal(3, 2, (5, 4, 4, 2))
        alone.forward(x, train=True)
        mean = 0.9 * mean + 0.1 * x.mean(axis=(0, 1, 2))
        variance = 0.9 * variance + 0.1 * x.var(axis=(0, 1, 2))  # biased, as documented
    np.testing.assert_allclose(alone.params["moments"], [mean, variance], rtol=1e-12)
    x = rng.normal(size=(5, 4, 4, 2))
    y, _ = alone.forward(x, train=False)
    np.testing.assert_allclose(alone.params["moments"], [mean, variance], rtol=1e-12)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * alone.params["gamma"] + alone.params["beta"]
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_batch_norm_in_training_gives_zero_mean_and_unit_deviation(ops, rng):
    alone = Alone(ops, layer_of("batch_norm", {"eps": 1e-9}), (6, 6, 3))
    alone.params |= {"gamma": np.ones(3), "beta": np.zeros(3)}
    y, _ = alone.forward(rng.normal(7, 3, (8, 6, 6, 3)), train=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, rtol=1e-6)


# --- dropout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["ops", "engine"])
def test_dropout_draws_its_mask_again_in_the_backward_pass(request, backend, rng):
    ops = request.getfixturevalue(backend)
    alone = Alone(ops, layer_of("dropout", {"rate": 0.5}), (40,))
    x, dy = rng.uniform(1, 2, (5, 40)), rng.uniform(1, 2, (5, 40))
    y, saved = alone.forward(x, train=True, step=3)
    assert set(np.unique(y / x)) == {0, 2}
    assert not [part for part in np.atleast_1d(saved).tolist() if part is not None]  # no mask is kept
    np.testing.assert_allclose(alone.backward(saved, dy, step=3), dy * (y / x), rtol=1e-12)
    assert (alone.forward(x, train=True, step=4)[0] != y).any()
    np.testing.assert_array_equal(alone.forward(x, train=False)[0], x)


def test_dropout_layers_of_one_model_draw_from_streams_of_their_own(ops):
    layers = [{"dropout": 0.5}, "flatten", {"dropout": 0.5}]
    model = build_model({"name": "m", "layers": layers}, ops, (5, 6, 1), 30, seed=4, dtype="float64")
    x, clock = np.ones((4, 5, 6, 1)), np.array([9])
    streams = [node.stream for node in model.graph.nodes if node.stream]
    assert len(set(streams)) == 2
    # The mask is a function of the seed, the stream and the step alone.
    first, second = (ops.dropout(x, 0.5, RandomKey(4, stream, clock)).reshape(4, 30) for stream in streams)
    np.testing.assert_array_equal(model.forward(x, True, clock)[0], first * second)
    assert ((first == 0) != (second == 0)).any()


# --- stochastic depth ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["ops", "engine"])
def test_drop_path_drops_examples_whole_and_the_same_ones_in_the_backward_pass(request, backend, rng):
    ops = request.getfixturevalue(backend)
    alone = Alone(ops, layer_of("drop_path", {"rate": 0.5}), (3, 4, 2))
    x, dy = rng.uniform(1, 2, (40, 3, 4, 2)), rng.uniform(1, 2, (40, 3, 4, 2))
    y, saved = alone.forward(x, train=True, step=3)
    factors = (y / x).reshape(40, -1)
    assert (factors == factors[:, :1]).all()
    assert set(factors[:, 0]) == {0, 2}
    assert not [part for part in np.atleast_1d(saved).tolist() if part is not None]  # no mask is kept
    np.testing.assert_allclose(alone.backward(saved, dy, step=3), dy * (y / x), rtol=1e-12)
    assert (alone.forward(x, train=True, step=4)[0] != y).any()
    np.testing.assert_array_equal(alone.forward(x, train=False)[0], x)


def test_drop_path_keeps_the_fraction_that_its_rate_says_and_the_mean(ops):
    """4,000 decisions: five standard deviations of their mean are 0.036."""
    x, alone = np.ones((4000, 1)), Alone(ops, layer_of("drop_path", {"rate": 0.3}), (1,))
    y, _ = alone.forward(x, train=True)
    assert abs((y == 0).mean() - 0.3) < 0.036
    assert abs(y.mean() - 1) < 0.052


# --- names --------------------------------------------------------------------------------------------------------


def test_nodes_are_named_after_their_kind_in_order_of_computation(ops):
    layers = [
        {"repeat": {"times": 2, "layers": [{"conv2d": {"filters": 2}}, "relu"]}},
        {"residual": {"layers": [{"conv2d": {"filters": 3}}], "shortcut": [{"conv2d": {"filters": 3, "kernel": 1}}]}},
        "global_avg_pool2d",
        {"dense": "classes"},
    ]
    model = build_model({"name": "m", "layers": layers}, ops, (5, 5, 1), 3, seed=0)
    names = ["conv2d_1", "relu_1", "conv2d_2", "relu_2", "conv2d_3", "conv2d_4", "add_1"]
    assert [node.name for node in model.graph.nodes] == [*names, "global_avg_pool2d_1", "dense_1"]
    assert [name for name in model.state() if "conv2d_4" in name] == ["conv2d_4.weight", "conv2d_4.bias"]


@each_case
def test_a_repr_makes_the_layer_again(kind, arguments, shape, expected):
    layer = layer_of(kind, arguments)
    again = eval(repr(layer), {name: getattr(cnn.layers, name) for name in cnn.layers.__all__})
    assert type(again) is type(layer)
    assert vars(again) == vars(layer)
    assert repr(again) == repr(layer)


def test_a_repr_leaves_out_what_is_as_by_default():
    assert repr(layer_of("conv2d", {"filters": 4, "stride": 1})) == "Conv2D(filters=4)"
    assert repr(layer_of("relu", {})) == "ReLU()"
    assert repr(layer_of("leaky_relu", {"slope": 0.3})) == "LeakyReLU(slope=0.3)"
