"""Random networks over all layers and joins: every plan computes the same, and its gradients are the function's."""

import numpy as np
import pytest

from cnn.layers import JOINS, LAYERS
from cnn.models import build_model
from models.drawn import network
from models.networks import CLASSES, kinds, unsettle
from models.test_plan import compare, everything_computed

COMPARED, DIFFERENTIATED = range(120), range(1000, 1040)


def model_of(seed, backend, fuse):
    """The shape of the images, and the network of `seed` with random tensors that depend on nothing else."""
    image, entries = network(seed, CLASSES)
    print(image, entries)  # shown where a test fails
    model = build_model({"layers": entries}, backend, image, CLASSES, seed, "float64", fuse=fuse)
    return image, unsettle(model, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", COMPARED)
def test_every_plan_computes_the_same(ops, engine, seed):
    results = []
    for backend, fuse in ((ops, False), (ops, True), (engine, True)):
        image, model = model_of(seed, backend, fuse)
        rng, count = np.random.default_rng(seed), 2 + seed % 4
        x, dlogits = rng.normal(size=(count, *image)), rng.normal(size=(count, CLASSES))
        results.append(everything_computed(model, x, dlogits))
    for found in results:
        compare(found, results[0], 1e-7)  # two batch norms of two examples magnify a rounding a thousandfold
        compare({"inference": found["folded"]}, {"inference": found["inference"]}, 1e-9)


@pytest.mark.parametrize("seed", DIFFERENTIATED)
def test_gradients_are_those_of_finite_differences(ops, seed):
    image, model = model_of(seed, ops, True)
    rng, clock, step = np.random.default_rng(6), np.array([3]), 1e-6
    x, dy = rng.normal(size=(5, *image)), rng.normal(size=(5, CLASSES))

    def objective():
        return float(np.sum(dy * model.forward(x, True, clock)[0])) + model.penalty()

    for tensor in model.gradients.tensors.values():
        tensor[...] = np.nan
    model.backward(model.forward(x, True, clock)[1], dy)
    least = 1e-3 * np.linalg.norm(model.gradients.flat)  # a bias in front of a norm has rounding errors alone
    for name, value in model.values.tensors.items():
        original, gradient = value.copy(), np.array(model.gradients.tensors[name])
        assert np.isfinite(gradient).all(), name
        # The smallest of several differences: a step across the kink of a ReLU or a maximum tells nothing.
        errors = []
        for direction in rng.normal(size=(3, *value.shape)):
            value[...] = original + step * direction
            upper = objective()
            value[...] = original - step * direction
            lower = objective()
            measured, computed = (upper - lower) / (2 * step), float(np.sum(gradient * direction))
            errors.append(abs(measured - computed) / (least + abs(measured) + np.linalg.norm(gradient)))
        value[...] = original
        assert min(errors) < 1e-4, (name, errors)


def test_the_networks_drawn_hold_everything():
    seen = {kind for seed in COMPARED for kind in kinds(network(seed)[1])}
    assert seen >= {*LAYERS, *JOINS, "residual"} - {"patch_whitening"}  # which the first layer alone can be, by images
