"""A network made ready for answers alone. That it gives the network's answers in float64: see test_plan.py."""

import gc
import weakref

import numpy as np
import pytest

from cnn.backends import get_ops
from cnn.models import InferenceModel
from models.networks import CLASSES, CLOCK, CONV, FLAT, IMAGE, NETWORKS, build, unsettle

WIDE = {"conv2d": {"filters": 64}}


@pytest.fixture(params=["ops", "engine"])
def backend(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
def test_it_answers_as_the_network_does_in_float32(engine, layers, rng):
    model = unsettle(build(engine, layers, "float32"), rng)
    x = rng.normal(size=(5, *IMAGE)).astype(np.float32)
    expected = model.forward(x, False)[0]
    network = InferenceModel(model)
    for _ in range(2):
        actual = network.forward(x)
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_later_training_does_not_move_it(backend, rng):
    model = unsettle(build(backend, NETWORKS["everything"]), rng)
    ready, x = InferenceModel(model), rng.normal(size=(5, *IMAGE))
    before = np.array(ready.forward(x))
    model.forward(x, True, CLOCK)  # moves the running statistics
    model.values.flat += 1
    np.testing.assert_array_equal(ready.forward(x), before)


def test_what_the_engine_derives_from_its_weights_goes_with_them(rng):
    engine = get_ops("cpu", 1)
    network = InferenceModel(unsettle(build(engine, [WIDE, WIDE, *FLAT], "float32"), rng))
    network.forward(rng.normal(size=(64, *IMAGE)).astype(np.float32))
    gc.collect()
    assert engine._packed
    del network
    gc.collect()
    assert not engine._packed


def test_it_keeps_nothing_between_batches(rng):
    engine = get_ops("cpu", 1)
    network = InferenceModel(unsettle(build(engine, [WIDE, "batch_norm", "relu", WIDE, *FLAT], "float32"), rng))
    x, used = rng.normal(size=(64, *IMAGE)).astype(np.float32), []
    for _ in range(5):
        network.forward(x)
        gc.collect()
        engine.memory.empty((1 << 20,), np.uint8)  # takes back what was returned
        used.append((engine.memory.fresh, engine.memory.in_use))
    assert len(set(used[1:])) == 1


def test_the_network_that_it_was_made_from_can_be_freed(backend, rng):
    model = unsettle(build(backend, [CONV, "batch_norm", "relu", CONV, "prelu", {"max_pool2d": 2}, *FLAT]), rng)
    ready = InferenceModel(model)
    gone = [weakref.ref(part) for part in (model, model.values.flat, model.gradients.flat, model.statistics.flat)]
    del model
    gc.collect()
    assert not [part for part in gone if part() is not None]
    assert ready.forward(backend.array(rng.normal(size=(2, *IMAGE)))).shape == (2, CLASSES)
