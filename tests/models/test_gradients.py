"""Whole networks, forward and back, in float64: every parameter's gradient against central differences."""

import numpy as np
import pytest

from cnn.layers import LAYERS
from cnn.layers.activations import ActivationLayer
from models.networks import BATCH, CLASSES, CLOCK, IMAGE, NETWORKS, build, kinds, unsettle

each_network = pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())


def objective(model, x, labels):
    """Loss with penalties: what the gradients belong to."""
    logits, saved = model.forward(x, True, CLOCK)
    loss, dlogits = model.ops.cross_entropy(logits, labels, np.linspace(0.5, 2, CLASSES), 0.1)
    return float(loss) + model.penalty(), dlogits, saved


def test_every_kind_of_layer_is_in_a_network():
    activations = {kind for kind, layer in LAYERS.items() if issubclass(layer, ActivationLayer)}
    assert {kind for layers in NETWORKS.values() for kind in kinds(layers)} >= set(LAYERS) - activations
    assert {"add", "multiply", "concat", "repeat", "residual"} <= set(kinds(e for n in NETWORKS.values() for e in n))


@each_network
def test_gradient_of_every_parameter(ops, layers, rng):
    model, step = unsettle(build(ops, layers), rng), 1e-5
    x, labels = rng.normal(size=(BATCH, *IMAGE)), np.arange(BATCH) % CLASSES
    _, dlogits, saved = objective(model, x, labels)
    model.gradients.flat[...] = np.nan  # every element is to be filled
    model.backward(saved, dlogits)
    for name, value in model.values.tensors.items():
        if name in model.fixed:
            continue
        gradient = np.array(model.gradients.tensors[name])
        assert np.isfinite(gradient).all(), name
        measured, computed, original = [], [], value.copy()
        for direction in rng.normal(size=(2, *value.shape)):
            value[...] = original + step * direction
            upper = objective(model, x, labels)[0]
            value[...] = original - step * direction
            lower = objective(model, x, labels)[0]
            measured.append((upper - lower) / (2 * step))
            computed.append(np.sum(gradient * direction))
        value[...] = original
        norms = np.linalg.norm(computed) + np.linalg.norm(measured)
        # A bias in front of a batch norm moves nothing: its gradient is rounding error.
        assert np.linalg.norm(np.subtract(computed, measured)) < 1e-6 * norms + 1e-9, name


@each_network
def test_float32_gradients_are_those_of_float64(ops, layers):
    x, labels = np.random.default_rng(3).normal(size=(BATCH, *IMAGE)), np.array([0, 1, 2, 0])
    gradients = {}
    for dtype in ("float32", "float64"):
        model = build(ops, layers, dtype)
        logits, saved = model.forward(x.astype(dtype), True, CLOCK)
        model.backward(saved, ops.cross_entropy(logits, labels, np.ones(CLASSES, dtype))[1])
        gradients[dtype] = np.array(model.gradients.flat)
        assert logits.dtype == gradients[dtype].dtype == dtype
        assert all(tensor.dtype == dtype for tensor in model.state().values())
    difference = np.linalg.norm(gradients["float32"] - gradients["float64"])
    assert difference < 5e-5 * np.linalg.norm(gradients["float64"])


@each_network
def test_a_network_leaves_its_input_and_the_gradient_it_is_given_alone(ops, engine, layers, rng):
    x, dlogits = rng.normal(size=(BATCH, *IMAGE)), rng.normal(size=(BATCH, CLASSES))
    for backend in (ops, engine):
        model, kept = build(backend, layers), (x.copy(), dlogits.copy())
        model.backward(model.forward(x, True, CLOCK)[1], dlogits)
        np.testing.assert_array_equal(x, kept[0])
        np.testing.assert_array_equal(dlogits, kept[1])


def test_a_second_backward_overwrites_the_gradients_of_the_first(ops, rng):
    model = build(ops, NETWORKS["everything"])
    x, dlogits = rng.normal(size=(BATCH, *IMAGE)), rng.normal(size=(BATCH, CLASSES))
    found = []
    for _ in range(2):
        model.backward(model.forward(x, True, CLOCK)[1], dlogits)
        found.append(np.array(model.gradients.flat))
    np.testing.assert_array_equal(*found)


def test_penalty_is_the_weighted_sum_of_squares(ops):
    model = build(ops, NETWORKS["everything"])
    weights = model.values.tensors
    by_hand = 0.01 * np.sum(weights["conv2d_1.weight"] ** 2) + 0.02 * np.sum(weights["dense_1.weight"] ** 2)
    assert model.penalized
    assert model.penalty() == pytest.approx(by_hand, rel=1e-12)
    plain = build(ops, NETWORKS["conv_relu"])
    assert not plain.penalized
    assert plain.penalty() == 0.0
