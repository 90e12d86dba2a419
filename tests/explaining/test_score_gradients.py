"""The gradient of a class score with respect to any node's output, against central differences in float64."""

import numpy as np
import pytest

from cnn.explaining import score_gradient
from cnn.layers import Pass
from cnn.models.graph import INPUT
from models.networks import BATCH, CLASSES, IMAGE, NETWORKS, build, unsettle


def scores_with(model, x, classes, target, shift):
    """The sum of the examples' class scores in inference, where `shift` is added to the output of node `target`."""
    values = {INPUT: x}
    for index, node in enumerate(model.graph.nodes):
        inputs = tuple(values[given] for given in node.inputs)
        given = inputs if len(inputs) > 1 else inputs[0]
        values[index] = node.layer.forward(model.tensors[index], given, Pass(model.ops, False, node.input_shape))[0]
        if node.name == target:
            values[index] = values[index] + shift
    return values[len(model.graph.nodes) - 1][np.arange(len(x)), classes].sum()


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_the_gradient_of_every_node(ops, layers, rng):
    model, step = unsettle(build(ops, layers), rng), 1e-6
    x, classes = rng.normal(size=(BATCH, *IMAGE)), np.arange(BATCH) % CLASSES
    before, statistics = x.copy(), np.array(model.statistics.flat)
    for node in model.graph.nodes:
        found = score_gradient(model, x, classes, node.name)
        np.testing.assert_array_equal(found.output, model.feature_maps(x, [node.name])[node.name])
        np.testing.assert_allclose(found.logits, model.forward(x, False)[0], rtol=1e-9, atol=1e-9)
        assert found.gradient.shape == found.output.shape
        _, place, times = np.unique(found.output, return_inverse=True, return_counts=True)
        tied = (times > 1)[place].reshape(found.output.shape)  # as zeros of a ReLU: the largest of them has a kink
        for direction in rng.normal(size=(2, *found.output.shape)):
            direction[tied] = 0
            upper, lower = (scores_with(model, x, classes, node.name, sign * step * direction) for sign in (1, -1))
            computed = np.sum(found.gradient * direction)
            assert computed == pytest.approx((upper - lower) / (2 * step), rel=1e-5, abs=1e-7), node.name
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(model.statistics.flat, statistics)  # as in inference: nothing has moved


def test_the_compiled_engine_computes_the_same(ops, engine, rng):
    x, classes = rng.normal(size=(BATCH, *IMAGE)).astype(np.float32), np.array([2, 1, 1, 0])
    for layers in (NETWORKS["everything"], NETWORKS["squeeze_excite"], NETWORKS["conv_norm_relu_pool"]):
        own, fast = (build(backend, layers, "float32") for backend in (ops, engine))
        for node in own.graph.nodes:
            expected, found = (score_gradient(model, x, classes, node.name).gradient for model in (own, fast))
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5, err_msg=node.name)


def test_an_unknown_node_is_named(ops, rng):
    with pytest.raises(KeyError, match="no node 'conv2d_9'"):
        score_gradient(build(ops, NETWORKS["conv_relu"]), np.zeros((1, *IMAGE)), np.array([0]), "conv2d_9")
