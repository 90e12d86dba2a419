"""Initial weights, and the state that a checkpoint keeps."""

import math

import numpy as np
import pytest

from cnn.models import build_model
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
    weight = build(ops, layers, init=init, dtype="float64").parameters[name].value
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
    weight = build(ops, layers, init="he_normal", dtype="float64").parameters["dense_1.weight"].value
    assert np.abs(weight).max() <= math.sqrt(6 / (192 + 300))


def test_biases_start_at_zero_and_norms_at_the_identity(ops):
    state = build(ops).state()
    for name, value in (("bias", 0), ("beta", 0), ("mean", 0), ("gamma", 1), ("variance", 1)):
        found = [tensor for key, tensor in state.items() if key.endswith(f".{name}")]
        assert found
        assert all((tensor == value).all() for tensor in found)


# --- state ------------------------------------------------------------------------------------------------------


def trained(ops, seed=0):
    """A model whose every tensor has moved."""
    model = build(ops, seed=seed)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters.values():
        parameter.value += rng.normal(size=parameter.value.shape).astype(np.float32)
    model.forward(rng.normal(3, 2, (6, *IMAGE)).astype(np.float32), train=True)
    return model


def test_state_round_trip_gives_the_same_network(ops):
    first, second = trained(ops), build(ops, seed=9)
    x = np.random.default_rng(1).normal(size=(5, *IMAGE)).astype(np.float32)
    assert (first.forward(x, train=False) != second.forward(x, train=False)).any()
    second.load_state(first.state(), "a file")
    np.testing.assert_array_equal(first.forward(x, train=False), second.forward(x, train=False))
    for name, tensor in first.state().items():
        np.testing.assert_array_equal(second.state()[name], tensor)


def test_state_names_parameters_and_running_statistics(ops):
    assert set(build(ops).state()) == {
        *("conv2d_1.weight", "conv2d_1.bias"),
        *("batch_norm_1.gamma", "batch_norm_1.beta", "batch_norm_1.mean", "batch_norm_1.variance"),
        *("dense_1.weight", "dense_1.bias"),
    }


def test_running_statistics_go_on_moving_after_a_load(ops):
    model = build(ops)
    model.load_state(trained(ops).state(), "a file")
    before = model.state()["batch_norm_1.mean"]
    model.forward(np.random.default_rng(1).normal(5, 1, (6, *IMAGE)).astype(np.float32), train=True)
    assert (model.state()["batch_norm_1.mean"] != before).all()


def test_state_is_a_copy_and_so_is_what_is_loaded(ops):
    model = trained(ops)
    kept = model.state()
    model.parameters["dense_1.weight"].value += 1
    model.buffers["batch_norm_1.mean"] += 1
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
