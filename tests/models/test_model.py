"""Initial weights, the arenas that tensors lie in, and the state that a checkpoint keeps."""

import math

import numpy as np
import pytest

from cnn.layers import Conv2D, Dense, Dropout, GlobalAvgPool2D, ReLU
from cnn.models import Residual, build_model
from foundation.errors import UserError

IMAGE, CLASSES = (8, 8, 3), 4
LAYERS = [{"conv2d": {"filters": 5}}, "batch_norm", "relu", "flatten", {"dense": {"units": "classes"}}]


def build(ops, layers=None, seed=0, dtype="float32", **config):
    return build_model({"name": "m", "layers": layers or LAYERS, **config}, ops, IMAGE, CLASSES, seed, dtype)


def test_initial_weights_are_equal_for_equal_seeds(ops):
    first, second = build(ops, seed=5).state(), build(ops, seed=5).state()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])


@pytest.mark.parametrize("other", [1, 6, -1, 5 + 2**32])
def test_initial_weights_depend_on_the_seed(ops, other):
    first, second = build(ops, seed=5).state(), build(ops, seed=other).state()
    for name in ("conv2d_1.weight", "dense_1.weight"):
        assert (first[name] != second[name]).all()


def test_initial_weights_do_not_depend_on_the_floating_type(ops):
    single, double = build(ops, seed=5).state(), build(ops, seed=5, dtype="float64").state()
    for name, tensor in double.items():
        np.testing.assert_array_equal(single[name], tensor.astype(np.float32))


WIDE = {
    # name: layer, parameter, fan in, fan out
    "conv": ({"conv2d": {"filters": 400, "kernel": [3, 5]}}, "conv2d_1.weight", 15 * 3, 15 * 400),
    "grouped": ({"conv2d": {"filters": 1200, "groups": 3}}, "conv2d_1.weight", 9, 9 * 400),
    "depthwise": ({"depthwise_conv2d": {"multiplier": 500}}, "depthwise_conv2d_1.weight", 9, 9 * 500),
    "dense": ({"dense": 300}, "dense_1.weight", 192, 300),
}


@pytest.mark.parametrize("init", ["glorot_uniform", "he_normal"])
@pytest.mark.parametrize(("layer", "name", "fan_in", "fan_out"), WIDE.values(), ids=WIDE.keys())
def test_initial_weights_have_the_spread_of_the_paper(ops, init, layer, name, fan_in, fan_out):
    end = [{"dense": "classes"}]
    layers = ["flatten", layer, *end] if "dense" in layer else [layer, "global_avg_pool2d", *end]
    weight = build(ops, layers, init=init, dtype="float64").state()[name]
    deviation = math.sqrt(2 / fan_in) if init == "he_normal" else math.sqrt(2 / (fan_in + fan_out))
    assert weight.std() == pytest.approx(deviation, rel=5 / math.sqrt(weight.size))
    assert abs(weight.mean()) < 5 * deviation / math.sqrt(weight.size)
    if init == "glorot_uniform":
        limit = math.sqrt(3) * deviation
        assert 0.99 * limit < np.abs(weight).max() <= limit
    else:
        assert 0.001 < (np.abs(weight) > 2.58 * deviation).mean() < 0.02  # the tails of a normal hold 0.01


def test_a_layers_own_init_wins_over_the_models(ops):
    layers = ["flatten", {"dense": {"units": 300, "init": "glorot_uniform"}}, {"dense": "classes"}]
    weight = build(ops, layers, init="he_normal", dtype="float64").state()["dense_1.weight"]
    assert np.abs(weight).max() <= math.sqrt(6 / (192 + 300))


def test_biases_start_at_zero_and_norms_at_the_identity(ops):
    state = build(ops).state()
    for name, value in (("bias", 0), ("beta", 0), ("mean", 0), ("gamma", 1), ("variance", 1)):
        found = [tensor for key, tensor in state.items() if key.endswith(f".{name}")]
        assert found
        assert all((tensor == value).all() for tensor in found)


def test_prelu_slopes_start_where_the_layer_says(ops):
    state = build(ops, [{"prelu": 0.3}, "flatten", "prelu", {"dense": "classes"}]).state()
    assert state["prelu_1.slope"].tolist() == pytest.approx([0.3] * 3)
    assert state["prelu_2.slope"].tolist() == pytest.approx([0.25] * 192)


# --- arenas -----------------------------------------------------------------------------------------------------

SHAPES = {
    "conv2d_1.weight": (3, 3, 3, 5),
    "conv2d_1.bias": (5,),
    "batch_norm_1.gamma": (5,),
    "batch_norm_1.beta": (5,),
    "dense_1.weight": (320, 4),
    "dense_1.bias": (4,),
}


@pytest.mark.parametrize("backend", ["ops", "engine"])
def test_tensors_lie_one_behind_the_other_aligned_and_the_rest_is_zero(request, backend):
    model = build(request.getfixturevalue(backend))
    for arena in (model.values, model.gradients):
        assert {name: tensor.shape for name, tensor in arena.tensors.items()} == SHAPES
        base, used, end = arena.flat.ctypes.data, np.zeros(arena.flat.size, bool), 0
        for name, tensor in arena.tensors.items():
            begin = (tensor.ctypes.data - base) // 4
            assert begin == arena.begin(name)
            assert begin % 16 == 0  # where a vector of 64 bytes may begin
            assert end <= begin < end + 16  # no gap but for that
            assert np.shares_memory(tensor, arena.flat)
            assert tensor.flags.c_contiguous
            end = begin + tensor.size
            used[begin:end] = True
        assert not arena.flat[~used].any()
    assert list(model.gradients.tensors) == list(model.values.tensors)
    assert [model.gradients.begin(name) for name in SHAPES] == [model.values.begin(name) for name in SHAPES]
    assert {name: tensor.shape for name, tensor in model.statistics.tensors.items()} == {"batch_norm_1.moments": (2, 5)}


def test_what_decays_lies_in_front(ops):
    model = build(ops, [*LAYERS[:3], {"layer_norm": {}}, "prelu", "flatten", {"dense": "classes"}])
    places = {name: model.values.begin(name) for name in model.values.tensors}
    assert {name for name, begin in places.items() if begin < model.decayed} == {"conv2d_1.weight", "dense_1.weight"}
    assert model.decayed % 16 == 0
    everything = build(ops, ["flatten", {"dense": {"units": "classes", "bias": False}}])
    assert everything.decayed == everything.values.flat.size
    nothing = build_model({"layers": ["prelu", "global_avg_pool2d"]}, ops, IMAGE, 3, seed=0)
    assert (nothing.decayed, nothing.values.flat.size) == (0, 16)


def test_a_network_without_parameters_has_empty_arenas(ops):
    model = build_model({"layers": ["global_avg_pool2d"]}, ops, IMAGE, 3, seed=0)
    assert model.values.flat.size == model.decayed == model.parameter_count == 0
    x = np.ones((2, *IMAGE), np.float32)
    logits, saved = model.forward(x, True)
    model.backward(saved, logits)
    model.load_state(model.state(), "a file")


def test_training_leaves_the_gaps_between_tensors_at_zero(ops):
    """What lies there goes through every update and into the norm of the gradient."""
    model = trained(ops)
    logits, saved = model.forward(np.ones((2, *IMAGE), np.float32), True)
    model.backward(saved, np.ones_like(logits))
    for arena in (model.values, model.gradients):
        inside = sum(float(np.abs(tensor).sum(dtype=np.float64)) for tensor in arena.tensors.values())
        assert float(np.abs(arena.flat).sum(dtype=np.float64)) == pytest.approx(inside, rel=1e-12)


# --- layers as objects ------------------------------------------------------------------------------------------


def test_one_layer_object_in_two_places_has_tensors_for_each(ops):
    """And the same numbers as two layers of a config."""
    conv, relu, drop = Conv2D(3), ReLU(), Dropout(0.4)
    layers = [conv, relu, drop, conv, relu, drop, Residual([conv, relu]), GlobalAvgPool2D(), Dense("classes")]
    named = [{"conv2d": 3}, "relu", {"dropout": 0.4}]
    named = [*named, *named, {"residual": {"layers": named[:2]}}, "global_avg_pool2d", {"dense": "classes"}]
    x, dlogits = np.random.default_rng(1).normal(size=(2, *IMAGE)), np.ones((2, CLASSES))
    results = []
    for entries in (layers, named):
        model = build(ops, entries, dtype="float64")
        logits, saved = model.forward(x, True, np.array([3]))
        model.backward(saved, dlogits)
        results.append((model.state(), logits, np.array(model.gradients.flat)))
    (state, *found), (expected, *wanted) = results
    assert list(state) == list(expected)
    assert {"conv2d_1.weight", "conv2d_2.weight", "conv2d_3.weight"} <= set(state)
    assert state["conv2d_1.weight"].shape == state["conv2d_2.weight"].shape
    assert (state["conv2d_1.weight"] != state["conv2d_2.weight"]).all()
    for name in state:
        np.testing.assert_array_equal(state[name], expected[name])
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert Dense("classes").units == layers[-1].units  # the number of classes stays out of the caller's object


# --- state ------------------------------------------------------------------------------------------------------


def trained(ops, seed=0):
    """A model whose every tensor has moved."""
    model = build(ops, seed=seed)
    rng = np.random.default_rng(seed)
    for tensor in model.values.tensors.values():
        tensor[...] += rng.normal(size=tensor.shape).astype(np.float32)
    model.forward(rng.normal(3, 2, (6, *IMAGE)).astype(np.float32), train=True)
    return model


def test_state_round_trip_gives_the_same_network(ops):
    first, second = trained(ops), build(ops, seed=9)
    x = np.random.default_rng(1).normal(size=(5, *IMAGE)).astype(np.float32)
    assert (first.forward(x, train=False)[0] != second.forward(x, train=False)[0]).any()
    second.load_state(first.state(), "a file")
    np.testing.assert_array_equal(first.forward(x, train=False)[0], second.forward(x, train=False)[0])
    for name, tensor in first.state().items():
        np.testing.assert_array_equal(second.state()[name], tensor)


def test_state_names_parameters_and_running_statistics(ops):
    """Parameters in the order of the nodes, whatever the order of the arena."""
    assert list(build(ops).state()) == [*SHAPES, "batch_norm_1.mean", "batch_norm_1.variance"]


def test_running_statistics_go_on_moving_after_a_load(ops):
    model = build(ops)
    model.load_state(trained(ops).state(), "a file")
    before = model.state()["batch_norm_1.mean"]
    model.forward(np.random.default_rng(1).normal(5, 1, (6, *IMAGE)).astype(np.float32), train=True)
    assert (model.state()["batch_norm_1.mean"] != before).all()


def test_state_is_a_copy_and_so_is_what_is_loaded(ops):
    model = trained(ops)
    kept = model.state()
    model.values.flat += 1
    model.statistics.flat += 1
    given = {name: np.array(tensor) for name, tensor in kept.items()}
    model.load_state(given, "a file")
    for name in given:
        given[name] += 1
    for name, tensor in model.state().items():
        np.testing.assert_array_equal(tensor, kept[name])


def wrong_shape(state):
    return state | {"dense_1.weight": state["dense_1.weight"][:, :2]}


def one_too_many(state):
    return state | {"dense_2.weight": np.zeros((2, 2), np.float32)}


def one_missing(state):
    return {name: tensor for name, tensor in state.items() if name != "batch_norm_1.mean"}


def test_loading_copies_into_the_arrays_that_are_there(ops):
    """Whoever holds the arrays, such as a recorded step, sees the new values."""
    model, other = trained(ops), trained(ops, seed=3)
    held = [
        model.values.flat,
        model.statistics.flat,
        *model.values.tensors.values(),
        *model.statistics.tensors.values(),
    ]
    places = [array.ctypes.data for array in held]
    model.load_state(other.state(), "a file")
    now = [model.values.flat, model.statistics.flat, *model.values.tensors.values(), *model.statistics.tensors.values()]
    assert all(one is two for one, two in zip(held, now, strict=True))
    assert [array.ctypes.data for array in now] == places
    np.testing.assert_array_equal(held[0], other.values.flat)
    np.testing.assert_array_equal(held[1], other.statistics.flat)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (wrong_shape, r"a file: dense_1\.weight has shape \(320, 2\), the model needs \(320, 4\)"),
        (one_too_many, r"a file is not of model 'm': tensor dense_2\.weight"),
        (one_missing, r"a file is not of model 'm': tensor batch_norm_1\.mean"),
        (lambda state: {}, "a file is not of model 'm'"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(ops, spoil, says):
    model = build(ops)
    before = model.state()
    with pytest.raises(UserError, match=says):
        model.load_state(spoil(trained(ops).state()), "a file")
    for name, tensor in model.state().items():
        np.testing.assert_array_equal(tensor, before[name])
