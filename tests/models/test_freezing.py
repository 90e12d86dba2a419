"""Networks whose first nodes are frozen: they compute as in inference, and nothing of them is trained."""

import contextlib

import numpy as np
import pytest

from backends.finite_differences import directional_error
from cnn.models import build_model
from cnn.training.optimizers import AdamSettings, SgdSettings, build_optimizer
from foundation.errors import UserError
from models.networks import BATCH, CLASSES, CLOCK, CONV, HEAD, IMAGE, NETWORKS, build, unsettle

# Those of which something can be frozen and something else trained.
CUTS = [
    (name, layers, place)
    for name, layers in NETWORKS.items()
    for place in (1 / 3, 2 / 3)
    if name not in ("no_parameters",)
]
each_cut = pytest.mark.parametrize(("name", "layers", "place"), CUTS, ids=[f"{n}-{p:.1f}" for n, _, p in CUTS])
NORMED = [CONV, "batch_norm", "relu", {"dropout": 0.4}, CONV, "batch_norm", "relu", {"drop_path": 0.5}, *HEAD]
OPTIMIZERS = [
    SgdSettings(learning_rate=0.1, momentum=0.9, weight_decay=0.1),
    SgdSettings(learning_rate=0.1, momentum=0.9, nesterov=False),
    AdamSettings(learning_rate=0.1, weight_decay=0.1, decoupled=True),
    AdamSettings(learning_rate=0.1, weight_decay=0.1),
]


def frozen(ops, layers, place, **options):
    """The network, frozen up to this fraction of its nodes, or as far as something is left to train."""
    names = [node.name for node in build(ops, layers).graph.nodes]
    for last in range(int(place * (len(names) - 1)), -1, -1):
        with contextlib.suppress(UserError):  # it leaves nothing to train
            return build(ops, layers, freeze=names[last], **options)
    raise AssertionError(layers)


def parts(model):
    """The names of the frozen parameters, and of the others."""
    first = {node.name for node in model.graph.nodes[: model.graph.frozen]}
    names = list(model.values.tensors)
    still = [name for name in names if name.rpartition(".")[0] in first]
    return still, [name for name in names if name not in still]


@each_cut
def test_gradients_are_those_of_the_trained_part(ops, engine, name, layers, place, rng):
    """By finite differences of the frozen network itself, fused and not; frozen parameters have no gradient."""
    x, dlogits = rng.normal(size=(BATCH, *IMAGE)), rng.normal(size=(BATCH, CLASSES))
    for backend, fuse in ((ops, False), (ops, True), (engine, True)):
        model = unsettle(frozen(backend, layers, place, fuse=fuse), np.random.default_rng(6))
        still, trained = parts(model)
        _, saved = model.forward(x, True, CLOCK)
        model.backward(saved, dlogits)
        penalties = {name: 2 * spec.l2 for name, spec in model._specs.items()}
        for each in still:
            assert not model.gradients.tensors[each].any(), each
        for each in trained:
            value = model.values.tensors[each]
            gradient = model.gradients.tensors[each] - penalties[each] * value

            def output(changed, value=value, model=model):
                kept = value.copy()
                value[...] = changed
                logits = model.forward(x, True, CLOCK)[0]
                value[...] = kept
                return np.array(logits)

            if np.abs(gradient).max() > 1e-9:  # a bias in front of a batch norm moves nothing
                assert directional_error(output, value.copy(), dlogits, gradient, rng, 2) < 1e-5, each


@each_cut
def test_frozen_nodes_compute_as_in_inference(ops, engine, name, layers, place, rng):
    """The running statistics stay, nothing is dropped, whatever the plan fuses."""
    x = rng.normal(size=(BATCH, *IMAGE))
    results = []
    for backend, fuse in ((ops, False), (ops, True), (engine, True)):
        model = unsettle(frozen(backend, layers, place, fuse=fuse), np.random.default_rng(6))
        before = model.state()
        results.append(np.array(model.forward(x, True, CLOCK)[0]))
        first = {node.name for node in model.graph.nodes[: model.graph.frozen]}
        for each, tensor in model.state().items():
            if each.rpartition(".")[0] in first:
                np.testing.assert_array_equal(tensor, before[each], err_msg=each)
    for result in results:
        np.testing.assert_allclose(result, results[0], rtol=0, atol=1e-10 * max(1, np.abs(results[0]).max()))


def test_a_network_frozen_up_to_its_head_gives_the_logits_of_inference(ops, engine, rng):
    x = rng.normal(size=(BATCH, *IMAGE))
    for backend in (ops, engine):
        model = unsettle(build(backend, NORMED, freeze="features"), np.random.default_rng(6))
        assert parts(model)[1] == ["dense_1.weight", "dense_1.bias"]
        np.testing.assert_allclose(model.forward(x, True, CLOCK)[0], model.forward(x, False)[0], rtol=1e-12)


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_updates_leave_frozen_parameters_as_they_are(ops, engine, settings, clip_norm, storage, rng):
    """Neither weight decay nor momentum nor the rest of a long gradient moves them."""
    x, dlogits = rng.normal(size=(BATCH, *IMAGE)).astype(np.float32), rng.normal(size=(BATCH, CLASSES))
    for backend in (ops, engine):
        model = build(backend, [*NORMED[:-1], {"dense": {"units": 3, "l2": 0.1}}], "float32", storage=storage,
                      freeze="relu_1")  # fmt: skip
        optimizer, before = build_optimizer(settings, model, clip_norm), model.state()
        still, trained = parts(model)
        for step in (1, 2):
            _, saved = model.forward(x, True, np.array([step]))
            model.backward(saved, dlogits.astype(np.float32))
            rate, momentum = (backend.array(np.array([each], np.float32)) for each in (0.1, optimizer.momentum))
            optimizer.step(rate, momentum, backend.array(np.array([step])))
        after = model.state()
        for name in still:
            np.testing.assert_array_equal(after[name], before[name])
        for name in trained:
            assert (after[name] != before[name]).any(), name
        assert set(still) == {"conv2d_1.weight", "conv2d_1.bias", "batch_norm_1.gamma", "batch_norm_1.beta"}


def test_freezing_changes_neither_the_initial_weights_nor_the_names(ops):
    for freeze in ("conv2d_1", "relu_1", "features"):
        model = build(ops, NORMED, freeze=freeze)
        other = build(ops, NORMED)
        assert list(model.state()) == list(other.state())
        for name, tensor in other.state().items():
            np.testing.assert_array_equal(model.state()[name], tensor)
        assert model.parameter_count == other.parameter_count
        counts = [model.values.tensors[name].size for name in parts(model)[1]]
        assert model.trainable_count == sum(counts) < other.trainable_count


def test_a_frozen_norm_of_single_values_has_no_need_of_large_batches(ops):
    layers = ["flatten", {"dense": 4}, "batch_norm", "relu", {"dense": "classes"}]
    assert build(ops, layers).norm_of_single_values == "batch_norm_1"
    assert build(ops, layers, freeze="relu_1").norm_of_single_values is None


@pytest.mark.parametrize(
    ("layers", "freeze", "says"),
    [
        (NORMED, "conv2d_9", "freeze=conv2d_9: there is no node 'conv2d_9'; the nodes are: conv2d_1, "),
        (NORMED, "dense_1", "freeze=dense_1 leaves nothing to train"),
        ([CONV, {"conv2d": 3}, "global_avg_pool2d"], "features", "before the last dense layer, and the model has none"),
        ([CONV, "flatten", {"dense": 3}, "relu"], "relu_1", "freeze=relu_1 leaves nothing to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused_in_one_line(ops, layers, freeze, says):
    with pytest.raises(UserError, match=says) as caught:
        build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=0, freeze=freeze)
    assert "\n" not in str(caught.value)
