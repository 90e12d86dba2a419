"""A network made ready for answers alone gives the answers of the network."""

import gc
import weakref

import numpy as np
import pytest

from cnn.models import InferenceModel, build_model

IMAGE, CLASSES = (11, 10, 3), 4
CONV = {"conv2d": {"filters": 8}}
END = ["flatten", {"dense": "classes"}]
NETWORKS = {
    "norm_behind_convolution": [CONV, "batch_norm", "relu", *END],
    "norm_of_a_convolution_without_bias": [{"conv2d": {"filters": 6, "bias": False}}, "batch_norm", *END],
    "norm_behind_relu": [CONV, "relu", "batch_norm", {"max_pool2d": 2}, {"dropout": 0.5}, *END],
    "norm_pooled": [CONV, "batch_norm", "relu", {"max_pool2d": 2}, CONV, "batch_norm", {"max_pool2d": [2, 3]}, *END],
    "norm_pooled_with_padding": [CONV, "batch_norm", {"max_pool2d": {"kernel": 3, "stride": 2, "padding": 1}}, *END],
    "norm_alone": ["batch_norm", "relu", {"max_pool2d": 2}, "batch_norm", CONV, "elu", "batch_norm", *END],
    "norm_pooled_behind_dropout": [CONV, "relu", "batch_norm", {"dropout": 0.3}, {"max_pool2d": 3}, *END],
    "norm_in_front_of_dense": [
        "flatten",
        {"dense": 9},
        "relu",
        "batch_norm",
        {"dropout": 0.5},
        {"dense": {"units": 5, "bias": False}},
        "batch_norm",
        "relu",
        {"dense": "classes"},
    ],
    "norm_between_flatten_and_dense": [CONV, "flatten", "batch_norm", {"dense": "classes"}],
    "two_norms": [CONV, "batch_norm", "batch_norm", "relu", *END],
    "norm_of_vectors": ["flatten", {"dense": 9}, "batch_norm", "relu", {"dense": 5}, "relu", {"dense": "classes"}],
    "depthwise_and_grouped": [
        {"depthwise_conv2d": {"multiplier": 2}},
        "batch_norm",
        "relu",
        {"conv2d": {"filters": 4, "groups": 2, "stride": 2}},
        "batch_norm",
        *END,
    ],
    "residual": [
        CONV,
        {"residual": {"layers": [CONV, "batch_norm", "relu", CONV, "batch_norm"]}},
        {
            "residual": {
                "layers": [CONV, "batch_norm", "relu"],
                "shortcut": [{"conv2d": {"filters": 8, "kernel": 1}}, "batch_norm"],
            }
        },
        "global_avg_pool2d",
        {"dense": "classes"},
    ],
}


def trained(ops, layers, rng, dtype="float64"):
    """A network with running statistics and affine maps that are not trivial."""
    model = build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=3, dtype=dtype)
    for leaf in model.root.leaves():
        for name, values in leaf.buffers.items():
            values[...] = rng.uniform(0.5, 2, values.shape) if name == "variance" else rng.normal(size=values.shape)
        for name, parameter in leaf.params.items():
            if name != "weight":
                parameter.value[...] = rng.normal(size=parameter.value.shape)
    return model


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_it_answers_as_the_network_does(ops, layers, dtype, tolerance, rng):
    model = trained(ops, layers, rng, dtype)
    x = rng.normal(size=(5, *IMAGE)).astype(dtype)
    expected = model.forward(x, False)
    network = InferenceModel(model)
    for _ in range(2):
        actual = network.forward(x)
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_training_on_does_not_move_it(ops, rng):
    model = trained(ops, NETWORKS["norm_behind_convolution"], rng)
    x, network = rng.normal(size=(5, *IMAGE)), InferenceModel(model)
    before = network.forward(x).copy()
    for parameter in model.parameters.values():
        parameter.value += 1.0
    np.testing.assert_array_equal(network.forward(x), before)


def test_what_the_backend_derives_from_its_weights_goes_with_them(ops, rng):
    gc.collect()
    before = len(ops._forms)
    network = InferenceModel(trained(ops, [{"conv2d": {"filters": 64}}] * 2 + END, rng, "float32"))
    network.forward(rng.normal(size=(64, *IMAGE)).astype(np.float32))
    assert len(ops._forms) > before
    del network
    gc.collect()
    assert len(ops._forms) == before


def test_it_keeps_nothing_between_batches(ops, rng):
    network = InferenceModel(trained(ops, [{"conv2d": {"filters": 64}}, "batch_norm", "relu", *END], rng, "float32"))
    x, used = rng.normal(size=(64, *IMAGE)).astype(np.float32), []
    for _ in range(5):
        network.forward(x)
        gc.collect()
        ops.zeros_like(x)
        ops.memory.empty((1 << 20,), np.uint8)  # takes back what was returned
        used.append((ops.memory.fresh, ops.memory.in_use))
    assert len(set(used[1:])) == 1


def test_the_network_that_it_was_made_from_can_be_freed(ops, rng):
    model = trained(ops, [CONV, "batch_norm", "relu", CONV, {"max_pool2d": 2}, *END], rng)
    layers = [weakref.ref(leaf) for leaf in model.root.leaves() if leaf.params]
    ready = InferenceModel(model)
    del model
    gc.collect()
    assert not any(layer() for layer in layers)
    assert ready.forward(ops.array(rng.normal(size=(2, *IMAGE)))).shape == (2, CLASSES)


def test_later_training_does_not_move_it(ops, rng):
    model = trained(ops, [CONV, "relu", "batch_norm", *END], rng)
    ready, x = InferenceModel(model), ops.array(rng.normal(size=(2, *IMAGE)))
    before = np.array(ops.to_numpy(ready.forward(x)))
    model.forward(x, True, 1)  # moves the running statistics
    for leaf in model.root.leaves():
        for parameter in leaf.params.values():
            parameter.value[...] += 1
    np.testing.assert_array_equal(ops.to_numpy(ready.forward(x)), before)
