"""Whatever a plan computes together, the network is the same: fused or not, in training, in inference, folded."""

import weakref
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from cnn.backends import get_ops
from cnn.layers import Conv2D, Dropout, DropPath, Layer
from cnn.models import InferenceModel, build_model
from cnn.models.plan import make_plan
from cnn.models.summary import summary_rows
from models.networks import BATCH, CLASSES, CLOCK, CONV, FLAT, GATE, HEAD, IMAGE, NETWORKS, build, unsettle

each_network = pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())


def everything_computed(model, x, dlogits):
    """All that two passes of training and one of inference leave: outputs, gradients, running statistics."""
    found = {}
    for step in (1, 2):
        logits, saved = model.forward(x, True, np.array([step]))
        found[f"logits of step {step}"] = np.array(logits)
        model.backward(saved, dlogits)
        found |= {f"d {name} of step {step}": np.array(part) for name, part in model.gradients.tensors.items()}
    found |= model.state()
    found["inference"] = np.array(model.forward(x, False)[0])
    found["folded"] = np.array(InferenceModel(model).forward(x))
    return found


def compare(found, wanted, tolerance):
    assert found.keys() == wanted.keys()
    for name, expected in wanted.items():
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=tolerance * scale, err_msg=name)


@each_network
def test_every_plan_computes_the_same(ops, engine, layers):
    """On the engine a block is one pass over memory; unfused on the reference every layer is by itself."""
    rng = np.random.default_rng(5)
    x, dlogits = rng.normal(size=(BATCH, *IMAGE)), rng.normal(size=(BATCH, CLASSES))
    results = [
        everything_computed(unsettle(build(backend, layers, fuse=fuse), np.random.default_rng(6)), x, dlogits)
        for backend, fuse in ((ops, False), (ops, True), (engine, False), (engine, True))
    ]
    for found in results:
        compare(found, results[0], 1e-10)
        compare({"inference": found["folded"]}, {"inference": found["inference"]}, 1e-10)


@each_network
def test_a_plan_changes_neither_names_nor_summary_nor_state(ops, layers):
    fused, apart = build(ops, layers), build(ops, layers, fuse=False)
    assert summary_rows(fused) == summary_rows(apart)
    assert list(fused.state()) == list(apart.state())
    for name, tensor in fused.state().items():
        np.testing.assert_array_equal(tensor, apart.state()[name])


@each_network
def test_every_node_is_computed_once_and_after_what_it_reads(ops, layers):
    graph = build(ops, layers).graph
    for train, fuse, fold in ((True, True, False), (True, False, False), (False, True, False), (False, True, True)):
        plan = make_plan(graph, train, fuse, fold)
        there, counted = {-1}, []
        for block in plan.blocks:
            assert set(plan.read_by(block)) <= there
            there.add(block.output)
            counted += block.nodes() + ([] if block.ahead is None else [block.ahead])
            assert fuse or len(block.nodes()) == 1
        drops = (Dropout, DropPath)
        left_out = {i for i, node in enumerate(graph.nodes) if not train and isinstance(node.layer, drops)}
        assert sorted({*counted, *left_out}) == list(range(len(graph.nodes)))
        assert len(counted) == len(set(counted))
        assert plan.blocks[-1].output == len(graph.nodes) - 1


# --- what is computed together --------------------------------------------------------------------------------------


def blocks(ops, layers, train, fold=False):
    """The lines of a plan, without the numbers of the nodes and without the network's end."""
    lines = str(make_plan(build(ops, layers).graph, train, True, fold)).splitlines()
    return [" + ".join(name.rsplit("_", 1)[0] for name in line.split(" + ")) for line in lines]


GROUPED = {
    # name: the blocks in training, in inference, and in inference with folded norms
    "conv_relu_norm_dropout_pool": (
        ["conv2d + relu + batch_norm + dropout + max_pool2d", "flatten", "dense"],
        ["conv2d + relu + batch_norm + max_pool2d", "flatten", "dense"],
        ["conv2d + relu + batch_norm + max_pool2d", "flatten", "dense"],
    ),
    "conv_norm_relu_pool": (["conv2d + batch_norm + relu + max_pool2d", "flatten", "dense"],) * 3,
    "residual_add_relu": (["conv2d + relu", "conv2d + batch_norm + add + relu", "global_avg_pool2d", "dense"],) * 3,
    "residual_with_stochastic_depth": (
        [
            "conv2d + relu",
            "conv2d + batch_norm + drop_path + add + relu",
            "batch_norm + relu",
            "conv2d + drop_path",
            *["conv2d + add", "global_avg_pool2d", "dense"],
        ],
        *[
            [
                "conv2d + relu",
                "conv2d + batch_norm + add + relu",
                "batch_norm + relu",
                *["conv2d", "conv2d + add", "global_avg_pool2d", "dense"],
            ]
        ]
        * 2,
    ),
    "pool_before_norm": (  # in training the statistics need the pooled image whole
        ["conv2d + max_pool2d", "batch_norm + relu", "flatten", "dense"],
        ["conv2d + max_pool2d + batch_norm + relu", "flatten", "dense"],
        ["conv2d + max_pool2d + batch_norm + relu", "flatten", "dense"],
    ),
    "input_activations_before_norm": (  # their gradient needs their input, so they are no epilogue in training
        ["conv2d + gelu", "batch_norm + leaky_relu", "batch_norm", "flatten", "dense"],
        ["conv2d + gelu + batch_norm + leaky_relu + batch_norm", "flatten", "dense"],
        ["conv2d + gelu + batch_norm + leaky_relu + batch_norm", "flatten", "dense"],
    ),
    "squeeze_excite": (
        [
            "conv2d + relu",
            "conv2d + batch_norm",  # two read it: the product and the gate
            "global_avg_pool2d",
            "dense + relu",
            "dense + sigmoid",
            "multiply + add + relu",
            "global_avg_pool2d",
            "dense",
        ],
    )
    * 3,
    "gate_before_its_image": (
        [
            "conv2d",
            "global_avg_pool2d",
            "dense + relu",
            "dense + sigmoid",
            "conv2d + batch_norm + relu + multiply",
            "global_avg_pool2d",
            "dense",
        ],
    )
    * 3,
    "gate_behind_its_image": (
        [
            "conv2d",
            "conv2d + batch_norm + relu",  # the gate is not there yet
            "global_avg_pool2d",
            "dense + relu",
            "dense + sigmoid",
            "multiply",
            "global_avg_pool2d",
            "dense",
        ],
    )
    * 3,
    "x_plus_x": (
        ["conv2d + relu", "add", "batch_norm", "global_avg_pool2d", "dense"],
        *(["conv2d + relu", "add + batch_norm", "global_avg_pool2d", "dense"],) * 2,
    ),
    "dense": (
        ["flatten", "dense + relu + batch_norm + dropout", "dense"],
        ["flatten", "dense + relu + batch_norm", "dense"],
        ["flatten", "dense + relu", "dense"],  # the norm went into the dense layer behind it
    ),
    "two_relus": (["conv2d + relu + relu", "flatten", "dense"],) * 3,
    "two_norms": (
        ["conv2d + batch_norm", "batch_norm + relu", "flatten", "dense"],
        *(["conv2d + batch_norm + batch_norm + relu", "flatten", "dense"],) * 2,
    ),
}


@pytest.mark.parametrize("name", GROUPED)
def test_what_is_computed_together(ops, name):
    expected = [*GROUPED[name]]
    assert [blocks(ops, NETWORKS[name], *how) for how in ((True,), (False,), (False, True))] == expected


# --- feature maps ---------------------------------------------------------------------------------------------------


@each_network
def test_feature_maps_are_what_each_layer_by_itself_returns(ops, layers, rng):
    """A network that ends at the node computes the same, whatever the plan; so does a map asked for by itself."""
    model, x = unsettle(build(ops, layers), rng), rng.normal(size=(2, *IMAGE))
    maps = model.feature_maps(x)
    assert list(maps) == [node.name for node in model.graph.nodes]
    for node in model.graph.nodes:
        assert maps[node.name].shape == (2, *node.shape)
    np.testing.assert_allclose(maps[model.graph.nodes[-1].name], model.forward(x, False)[0], rtol=0, atol=1e-10)
    middle = model.graph.nodes[len(model.graph.nodes) // 2].name
    np.testing.assert_array_equal(model.feature_maps(x, [middle])[middle], maps[middle])


def test_feature_maps_by_hand(ops, rng):
    """A convolution's map is the convolution's, though in its block a ReLU, a norm and a pooling follow."""
    model, x = unsettle(build(ops, NETWORKS["conv_relu_norm_pool_dropout"]), rng), rng.normal(size=(2, *IMAGE))
    tensors, maps = model.state(), model.feature_maps(x)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # (n, h, w, c, kh, kw)
    conv = np.einsum("nhwckl,klcf->nhwf", windows, tensors["conv2d_1.weight"]) + tensors["conv2d_1.bias"]
    np.testing.assert_allclose(maps["conv2d_1"], conv, rtol=0, atol=1e-12)
    relu = np.where(conv > 0, conv, 0)
    np.testing.assert_allclose(maps["relu_1"], relu, rtol=0, atol=1e-12)
    norm = (relu - tensors["batch_norm_1.mean"]) / np.sqrt(tensors["batch_norm_1.variance"] + 1e-5)
    norm = norm * tensors["batch_norm_1.gamma"] + tensors["batch_norm_1.beta"]
    np.testing.assert_allclose(maps["batch_norm_1"], norm, rtol=0, atol=1e-12)
    pooled = norm[:, :6].reshape(2, 3, 2, 3, 2, 4).max(axis=(2, 4))
    np.testing.assert_allclose(maps["max_pool2d_1"], pooled, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(maps["dropout_1"], maps["max_pool2d_1"])


def test_an_unknown_feature_map_names_those_that_there_are(ops):
    model = build(ops, [CONV, "relu", *HEAD])
    with pytest.raises(KeyError, match=r"no node 'relu_2'.*conv2d_1, relu_1, global_avg_pool2d_1"):
        model.feature_maps(np.zeros((1, *IMAGE)), ["relu_2"])


# --- memory ---------------------------------------------------------------------------------------------------------


class Probe(Layer):
    """Copies its input, and writes down which of the arrays that all probes made are alive when it is called."""

    made: list = []  # noqa: RUF012 (the record of one test)
    alive: list = []  # noqa: RUF012

    def output_shape(self, input_shape):
        return input_shape

    def _copied(self, x):
        self.alive.append([number for number, array in enumerate(self.made) if array() is not None])
        y = x.copy()
        self.made.append(weakref.ref(y))
        return y

    def forward(self, params, x, ctx):
        return self._copied(x), None

    def backward(self, params, saved, dy, grads, ctx):
        return self._copied(dy)


@pytest.fixture
def probes(monkeypatch):
    monkeypatch.setattr(Probe, "made", [])
    monkeypatch.setattr(Probe, "alive", [])
    return Probe


def test_an_output_is_freed_when_its_last_reader_is_done(ops, probes):
    chain = [Probe(), Probe(), Probe(), *FLAT]
    build(ops, chain).forward(np.ones((1, *IMAGE)), False)
    assert probes.alive == [[], [0], [1]]


def test_an_output_that_two_read_lives_until_the_second_is_done(ops, probes):
    # 0 is read by 1 and by the sum behind 2; behind the sum, whose array is no probe's, nothing else lives.
    layers = [Probe(), {"add": {"branches": [[], [Probe(), Probe()]]}}, Probe(), Probe(), *FLAT]
    build(ops, layers).forward(np.ones((1, *IMAGE)), False)
    assert probes.alive == [[], [0], [0, 1], [], [3]]


def test_gradients_are_freed_on_the_way_back(ops, probes):
    model = build(ops, [Probe(), Probe(), Probe(), *FLAT])
    logits, saved = model.forward(np.ones((1, *IMAGE)), True)
    assert probes.alive == [[], [0], [1]]  # nothing needs a probe's output in the backward pass
    probes.made.clear()
    probes.alive.clear()
    model.backward(saved, np.ones_like(logits))
    assert probes.alive == [[], [0], [1]]


def owners(kept, found):
    """The arrays, each once and whole, that a structure of dataclasses, lists and tuples holds."""
    if isinstance(kept, np.ndarray):
        while isinstance(kept.base, np.ndarray):
            kept = kept.base
        found[id(kept)] = kept
    elif isinstance(kept, list | tuple):
        for part in kept:
            owners(part, found)
    elif is_dataclass(kept):
        owners([getattr(kept, field.name) for field in fields(kept)], found)
    return found


def kept_bytes(model, saved, x):
    """What a forward pass keeps for the backward pass, beside the network's tensors and its input."""
    own = owners([model.values.flat, model.gradients.flat, model.statistics.flat, x, CLOCK], {})
    return sum(array.nbytes for key, array in owners(saved, {}).items() if key not in own)


@each_network
def test_a_fused_network_keeps_no_more_and_frees_it(layers):
    x, sizes = np.ones((20, *IMAGE)), []
    for fuse in (True, False):
        model = build(get_ops("numpy"), layers, fuse=fuse)
        logits, saved = model.forward(x, True, CLOCK)
        sizes.append(kept_bytes(model, saved, x))
        arrays = [weakref.ref(array) for array in owners(saved, {}).values() if array.base is None]
        model.backward(saved, np.ones_like(logits))
        assert not saved
        mine = owners([model.values.flat, model.gradients.flat, model.statistics.flat, x, CLOCK], {})
        assert {id(array()) for array in arrays if array() is not None} <= {*mine, id(logits)}
        assert model.forward(x, False)[1] == []
    assert sizes[0] <= sizes[1]


def test_dropout_keeps_no_mask(ops):
    x, plain, dropped = np.ones((20, *IMAGE)), [CONV, *FLAT], [CONV, {"dropout": 0.5}, *FLAT]
    sizes = []
    for layers in (plain, dropped):
        model = build(ops, layers)
        sizes.append(kept_bytes(model, model.forward(x, True, CLOCK)[1], x))
    assert sizes[0] == sizes[1]


# --- passes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["everything", "squeeze_excite", "dense_net", "conv_relu_norm_dropout_pool"])
def test_forward_passes_may_interleave(ops, engine, name, rng):
    for backend in (ops, engine):
        model = build(backend, NETWORKS[name])
        batches = [rng.normal(size=(count, *IMAGE)) for count in (3, 5)]
        given = [rng.normal(size=(count, CLASSES)) for count in (3, 5)]
        clocks = [np.array([step]) for step in (1, 2)]

        def gradients(saved, place, model=model, given=given):
            model.backward(saved, given[place])
            return np.array(model.gradients.flat)

        apart = [gradients(model.forward(batches[i], True, clocks[i])[1], i) for i in (0, 1)]
        saved = [model.forward(batches[i], True, clocks[i])[1] for i in (0, 1)]
        model.forward(batches[0], False)
        for place in (1, 0):
            np.testing.assert_array_equal(gradients(saved[place], place), apart[place])
        saved = [model.forward(batches[i], True, clocks[i])[1] for i in (0, 1)]
        for place in (0, 1):
            np.testing.assert_array_equal(gradients(saved[place], place), apart[place])


def test_a_step_draws_its_own_masks_and_the_backward_pass_those_of_its_forward_pass(ops, engine, rng):
    """The clock is an array that moves on in place between the steps, as in a training loop."""
    layers, x = ["flatten", {"dense": 40}, {"dropout": 0.5}], rng.normal(size=(1, *IMAGE))
    for backend in (ops, engine):
        model, clock, masks = build_model({"layers": layers}, backend, IMAGE, 40, 4, "float64"), np.array([7]), []
        for _ in range(2):
            logits, saved = model.forward(x, True, clock)
            masks.append(logits[0] / model.forward(x, False, clock)[0][0])
            model.backward(saved, np.ones_like(logits))
            np.testing.assert_allclose(model.gradients.tensors["dense_1.bias"], masks[-1], rtol=1e-12)
            clock += 1
        assert set(np.round(np.unique(masks), 12)) == {0, 2}
        assert (masks[0] != masks[1]).any()


def test_the_gradient_of_the_images_is_computed_for_nobody(ops, rng):
    """A product that reads the images makes no gradient of them, alone or as one of several."""

    class Counting:
        def __init__(self):
            self.calls = []

        def __getattr__(self, name):
            self.calls.append(name)
            return getattr(ops, name)

    for layers in ([CONV, "relu", CONV, *FLAT], [{"add": {"branches": [[CONV], [CONV, "relu", CONV]]}}, *FLAT]):
        counting = Counting()
        model = build(counting, layers)
        logits, saved = model.forward(rng.normal(size=(2, *IMAGE)), True)
        model.backward(saved, np.ones_like(logits))
        assert counting.calls.count("conv2d_backward_input") == 1
        assert counting.calls.count("dense_backward_input") == 1


@pytest.mark.parametrize("image", [(1, 1, 1), (3, 1, 2), (1, 5, 4)])
def test_images_of_a_pixel_or_a_line(ops, engine, image, rng):
    layers = [{"conv2d": {"filters": 4}}, "batch_norm", "relu", {"multiply": {"branches": [[], GATE]}}, *HEAD]
    x, dlogits = rng.normal(size=(1, *image)), rng.normal(size=(1, CLASSES))
    results = []
    for backend, fuse in ((ops, False), (engine, True)):
        model = build_model({"layers": layers}, backend, image, CLASSES, 0, "float64", fuse=fuse)
        results.append(everything_computed(model, x, dlogits))
    compare(results[1], results[0], 1e-9)


class WatchedConv2D(Conv2D):
    """Notes in `alive`, at its backward pass, whether its output still lives."""

    def __init__(self, alive):
        super().__init__(4, 3)
        self.alive = alive

    def forward(self, params, x, ctx, *epilogue):
        y, saved = super().forward(params, x, ctx, *epilogue)
        self.output = weakref.ref(y)
        return y, saved

    def backward(self, params, saved, dy, grads, ctx):
        self.alive.append(self.output() is not None)
        return super().backward(params, saved, dy, grads, ctx)


@pytest.mark.parametrize("engine", ["numpy", "cpu"])
@pytest.mark.parametrize("behind", [["batch_norm", "relu"], ["relu", "batch_norm", {"max_pool2d": 2}], ["gelu"]])
def test_a_convolutions_output_is_freed_before_its_backward_pass(engine, behind):
    alive = []
    model = build(get_ops(engine), [WatchedConv2D(alive), *behind, *FLAT])
    logits, saved = model.forward(np.ones((2, *IMAGE)), True)
    model.backward(saved, np.ones_like(logits))
    assert alive == [False]
