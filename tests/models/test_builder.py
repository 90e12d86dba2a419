"""Bad model configs: each is one line that names the entry at fault."""

import pytest

from cnn.layers import Add, Conv2D, Dense, DropPath, ReLU
from cnn.models import Branches, Residual, build_model
from foundation.errors import UserError

IMAGE, CLASSES = (9, 8, 3), 4
HEAD = ["global_avg_pool2d", {"dense": {"units": "classes"}}]


def refusal(ops, layers, **config) -> str:
    with pytest.raises(UserError) as caught:
        build_model({"name": "m", "layers": layers, **config}, ops, IMAGE, CLASSES, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    return message


CONV = {"conv2d": {"filters": 4}}
BAD = {
    # name: (layers, the place, what the message says)
    "unknown layer": (
        [CONV, "convolution", *HEAD],
        "model.layers[1]",
        "there is no layer 'convolution'; choose one of:",
    ),
    "unknown argument": ([{"conv2d": {"filtres": 4}}, *HEAD], "model.layers[0]", "conv2d has no argument 'filtres'"),
    "argument of a layer without any": (["relu", {"relu": 3}, *HEAD], "model.layers[1]", "relu takes no arguments"),
    "missing argument": ([CONV, "dropout", *HEAD], "model.layers[1]", "rate"),
    "text for a number": ([{"conv2d": {"filters": "many"}}, *HEAD], "model.layers[0]", "filters"),
    "fraction of a filter": ([{"conv2d": {"filters": 2.5}}, *HEAD], "model.layers[0]", "filters"),
    "no filter": ([CONV, {"conv2d": 0}, *HEAD], "model.layers[1]", "filters must be a whole number of at least 1"),
    "kernel of text": ([{"conv2d": {"filters": 4, "kernel": "big"}}, *HEAD], "model.layers[0]", "kernel"),
    "kernel of a fraction": ([{"conv2d": {"filters": 4, "kernel": 2.5}}, *HEAD], "model.layers[0]", "kernel"),
    "kernel of three numbers": ([{"conv2d": {"filters": 4, "kernel": [3, 3, 3]}}, *HEAD], "model.layers[0]", "kernel"),
    "stride 0": ([{"conv2d": {"filters": 4, "stride": 0}}, *HEAD], "model.layers[0]", "stride"),
    "padding of unknown kind": ([{"conv2d": {"filters": 4, "padding": "full"}}, *HEAD], "model.layers[0]", "padding"),
    "l2 of text": ([{"conv2d": {"filters": 4, "l2": "strong"}}, *HEAD], "model.layers[0]", "l2"),
    "negative l2": ([{"conv2d": {"filters": 4, "l2": -0.1}}, *HEAD], "model.layers[0]", "l2"),
    "bias of text": ([{"conv2d": {"filters": 4, "bias": "none"}}, *HEAD], "model.layers[0]", "bias"),
    "unknown init of a layer": (
        [{"conv2d": {"filters": 4, "init": "zeros"}}, *HEAD],
        "model.layers[0]",
        "init 'zeros'",
    ),
    "groups that do not divide": ([{"conv2d": {"filters": 4, "groups": 2}}, *HEAD], "model.layers[0]", "2 groups"),
    "dropout of everything": ([{"dropout": 1.0}, *HEAD], "model.layers[0]", "rate must be a number from 0 to below 1"),
    "dropout of all that counts": ([{"dropout": 0.9999999}, *HEAD], "model.layers[0]", "rate"),
    "negative dropout": ([{"dropout": -0.1}, *HEAD], "model.layers[0]", "rate"),
    "stochastic depth of text": (
        [CONV, {"residual": {"layers": [CONV], "drop_path": "high"}}, *HEAD],
        "model.layers[1]: drop_path must be a number from 0 to below 1",
        "'high'",
    ),
    "a branch that is always dropped": (
        [CONV, {"residual": {"layers": [CONV], "drop_path": 1}}, *HEAD],
        "model.layers[1]",
        "drop_path must be a number from 0 to below 1",
    ),
    "filters from images behind another layer": (
        [CONV, {"patch_whitening": 3}, *HEAD],
        "model.layers[1] (patch_whitening)",
        "must be a first layer",
    ),
    "patches larger than the image": (
        [{"patch_whitening": 10}, *HEAD],
        "model.layers[0] (patch_whitening)",
        "an image of 9x8 has no patch of 10x10",
    ),
    "momentum of text": ([{"batch_norm": {"momentum": "x"}}, *HEAD], "model.layers[0]", "momentum"),
    "slope of text": ([{"leaky_relu": "steep"}, *HEAD], "model.layers[0]", "steep"),
    "image shrunk below one pixel": (
        [{"repeat": {"times": 3, "layers": [{"max_pool2d": 2}]}}, {"max_pool2d": 2}, *HEAD],
        "model.layers[1]",
        "2x2 window",
    ),
    "kernel larger than the image": (
        [{"conv2d": {"filters": 4, "kernel": 11, "padding": "valid"}}, *HEAD],
        "model.layers[0]",
        "11x11 window with padding valid does not fit into the 9x8 image",
    ),
    "dense on an image": ([CONV, {"dense": 5}, *HEAD], "model.layers[1]", "put flatten or global_avg_pool2d before it"),
    "convolution on a vector": (["flatten", CONV, *HEAD], "model.layers[1]", "it needs an image"),
    "pooling of a vector": (["flatten", "global_avg_pool2d"], "model.layers[1]", "it needs an image"),
    "residual mismatch": (
        [{"residual": {"layers": [{"conv2d": {"filters": 5}}]}}, *HEAD],
        "model.layers[0]",
        "end in (9, 8, 5) and (9, 8, 3): they cannot be added",
    ),
    "misfit inside a residual": (
        [CONV, {"residual": {"layers": ["relu", {"dense": 3}]}}, *HEAD],
        "model.layers[1].layers[1]",
        "it needs a vector",
    ),
    "misfit inside a shortcut": (
        [CONV, {"residual": {"layers": ["relu"], "shortcut": ["flatten", CONV]}}, *HEAD],
        "model.layers[1].shortcut[1]",
        "it needs an image",
    ),
    "unknown layer inside a repeat": (
        [{"repeat": {"times": 2, "layers": ["relu", "rellu"]}}, *HEAD],
        "model.layers[0].layers[1]",
        "there is no layer 'rellu'",
    ),
    "repeat without times": ([{"repeat": {"layers": ["relu"]}}, *HEAD], "model.layers[0]", "whole number of times"),
    "repeat without layers": ([{"repeat": {"times": 2}}, *HEAD], "model.layers[0].layers", "must be a list of layers"),
    "residual of a number": (
        [{"residual": 3}, *HEAD],
        "model.layers[0]",
        "residual takes drop_path, layers, shortcut, not 3",
    ),
    "unknown argument of a residual": (
        [{"residual": {"layers": ["relu"], "skip": []}}, *HEAD],
        "model.layers[0]",
        "residual has no argument 'skip'",
    ),
    "one branch": (
        [CONV, {"add": {"branches": [["relu"]]}}, *HEAD],
        "model.layers[1]",
        "add needs a list of at least two branches, not [['relu']]",
    ),
    "no branches": ([{"concat": None}, *HEAD], "model.layers[0]", "concat needs a list of at least two branches"),
    "branches of text": ([{"add": {"branches": "relu"}}, *HEAD], "model.layers[0]", "at least two branches"),
    "a branch of text": (
        [{"add": {"branches": [[], "relu"]}}, *HEAD],
        "model.layers[0].branches[1]",
        "must be a list of layers",
    ),
    "branches without their key": (
        [{"add": [["relu"], []]}, *HEAD],
        "model.layers[0]",
        "add takes branches, not",
    ),
    "unknown join": ([{"subtract": {"branches": [[], []]}}, *HEAD], "model.layers[0]", "there is no layer 'subtract'"),
    "sum of different channels": (
        [{"add": {"branches": [[CONV], ["relu"]]}}, *HEAD],
        "model.layers[0] (add)",
        "its branches end in (9, 8, 4) and (9, 8, 3): they cannot be added",
    ),
    "sum of an image and a vector": (
        [{"add": {"branches": [[], ["global_avg_pool2d"]]}}, *HEAD],
        "model.layers[0] (add)",
        "(9, 8, 3) and (3,)",
    ),
    "gate of the wrong length": (
        [{"multiply": {"branches": [["global_avg_pool2d", {"dense": 4}], ["relu"]]}}, *HEAD],
        "model.layers[0] (multiply)",
        "end in (4,) and (9, 8, 3): they cannot be multiplied",
    ),
    "concatenation of different pixels": (
        [CONV, {"concat": {"branches": [[], [{"max_pool2d": 2}]]}}, *HEAD],
        "model.layers[1] (concat)",
        "end in (9, 8, 4) and (4, 4, 4): their pixels differ",
    ),
    "misfit inside a branch in a branch": (
        [{"add": {"branches": [[], [{"residual": {"layers": ["relu", {"dense": 3}]}}]]}}, *HEAD],
        "model.layers[0].branches[1][0].layers[1]",
        "it needs a vector",
    ),
    "three of which one does not fit": (
        [{"add": {"branches": [[], ["relu"], [CONV]]}}, *HEAD],
        "model.layers[0] (add)",
        "(9, 8, 3) and (9, 8, 4)",
    ),
    "clip the wrong way round": ([{"clip": {"low": 2, "high": 1}}, *HEAD], "model.layers[0]", "low must be below high"),
    "clip to a point": ([{"clip": {"low": 1, "high": 1}}, *HEAD], "model.layers[0]", "low must be below high"),
    "clip by text": ([{"clip": {"low": "small"}}, *HEAD], "model.layers[0]", "low must be a number"),
    "clip by no number": ([{"clip": {"high": float("nan")}}, *HEAD], "model.layers[0]", "high must be a number"),
    "groups of a norm that do not divide": (
        [CONV, {"group_norm": 3}, *HEAD],
        "model.layers[1] (group_norm)",
        "4 channels do not divide into 3 groups",
    ),
    "a norm without groups": ([CONV, {"group_norm": 0}, *HEAD], "model.layers[1]", "groups must be a whole number"),
    "argument of a layer norm": (
        [CONV, {"layer_norm": {"groups": 2}}, *HEAD],
        "model.layers[1]",
        "no argument 'groups'",
    ),
    "prelu of text": ([{"prelu": "steep"}, *HEAD], "model.layers[0]", "initial must be a number"),
    "ceil of a number": ([{"max_pool2d": {"ceil": 1}}, *HEAD], "model.layers[0]", "ceil must be true or false"),
    "padding counted by a maximum": (
        [{"max_pool2d": {"count_include_pad": True}}, *HEAD],
        "model.layers[0]",
        "max_pool2d has no argument 'count_include_pad'",
    ),
    "padding counted by text": (
        [{"avg_pool2d": {"count_include_pad": "yes"}}, *HEAD],
        "model.layers[0]",
        "count_include_pad must be true or false",
    ),
    "dilation 0": ([{"max_pool2d": {"dilation": 0}}, *HEAD], "model.layers[0]", "dilation must be whole numbers"),
    "a window of padding": (
        [{"max_pool2d": {"kernel": 2, "padding": 2}}, *HEAD],
        "model.layers[0] (max_pool2d)",
        "sees nothing but padding",
    ),
    "padding of a truth": ([{"conv2d": {"filters": 4, "padding": True}}, *HEAD], "model.layers[0]", "padding"),
    "two layers in one entry": ([{"relu": None, "gelu": None}, *HEAD], "model.layers[0]", "an entry is a layer's name"),
    "entry of a number": ([CONV, 5, *HEAD], "model.layers[1]", "an entry is a layer's name"),
    "layers of text": ("relu", "model.layers", "must be a list of layers"),
    "no layers": ([], "model.layers", "is empty"),
    "wrong number of classes": (
        [CONV, "flatten", {"dense": 5}],
        "model 'm'",
        "ends in shape (5,), but the dataset has 4",
    ),
    "an image at the end": ([CONV], "model 'm'", "ends in shape (9, 8, 4)"),
}


@pytest.mark.parametrize(("layers", "place", "says"), BAD.values(), ids=BAD.keys())
def test_bad_config_is_one_line_that_names_the_place(ops, layers, place, says):
    message = refusal(ops, layers)
    assert message.startswith(place)
    assert says in message


def test_unknown_init_of_the_model_names_the_choices(ops):
    message = refusal(ops, HEAD, init="xavier")
    assert "there is no init 'xavier'; choose one of: glorot_uniform, he_normal" in message


def test_unknown_storage_names_the_choices(ops):
    with pytest.raises(UserError, match="there is no storage 'float8'; choose one of: float32, bfloat16"):
        build_model({"name": "m", "layers": HEAD}, ops, IMAGE, CLASSES, seed=0, storage="float8")


BLOCK = {"residual": {"layers": [CONV]}}


def rates(ops, layers, **options):
    """The drop rate of each residual block, 0 without stochastic depth."""
    model = build_model({"name": "m", "layers": [CONV, *layers, *HEAD], **options}, ops, IMAGE, CLASSES, seed=0)
    nodes = model.graph.nodes
    branches = [nodes[node.inputs[0]].layer for node in nodes if node.name.startswith("add")]
    return [branch.rate if isinstance(branch, DropPath) else 0 for branch in branches]


def test_rates_of_stochastic_depth_rise_linearly_to_that_of_the_model(ops):
    """Block l of L is dropped with probability l / L of the last one's (Huang et al. 2016, equation 4)."""
    repeated = [BLOCK, {"repeat": {"times": 3, "layers": [BLOCK, "relu"]}}, BLOCK]
    assert rates(ops, repeated, drop_path=0.5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates(ops, repeated) == rates(ops, repeated, drop_path=0) == rates(ops, repeated, drop_path=None) == [0] * 5
    assert rates(ops, [Residual([CONV]), Residual([CONV])], drop_path=0.2) == pytest.approx([0.1, 0.2])
    inside = [{"multiply": {"branches": [["sigmoid"], [BLOCK]]}}, BLOCK]
    assert rates(ops, inside, drop_path=0.4) == pytest.approx([0.2, 0.4])


def test_a_block_with_a_rate_of_its_own_keeps_it(ops):
    own = [BLOCK, Residual([CONV], drop_path=0.25), {"residual": {"layers": [CONV], "drop_path": 0}}, BLOCK]
    assert rates(ops, own, drop_path=0.4) == pytest.approx([0.1, 0.25, 0, 0.4])
    assert rates(ops, own) == pytest.approx([0, 0.25, 0, 0])


def test_a_model_without_residual_blocks_has_no_stochastic_depth(ops):
    assert rates(ops, ["relu"], drop_path=0.4) == []


@pytest.mark.parametrize("rate", [1, -0.1, "high", True, float("nan")])
def test_a_wrong_rate_of_stochastic_depth_is_refused(ops, rate):
    message = refusal(ops, [CONV, BLOCK, *HEAD], drop_path=rate)
    assert message.startswith("model.drop_path must be a number from 0 to below 1")


OBJECTS = {
    "one branch": (Branches("add", [[ReLU()]]), "add needs a list of at least two branches"),
    "no branch": (Branches("concat", []), "concat needs a list of at least two branches"),
    "a number": (Branches("add", 2), "add needs a list of at least two branches"),
    "unknown join": (
        Branches("subtract", [[], []]),
        "there is no join 'subtract'; choose one of: add, multiply, concat",
    ),
    "a join without branches": (Add(), r"add joins branches: write Branches('add', [[...], [...]])"),
    "a class": (ReLU, "an entry is a layer's name"),
    "a misfit": (Dense(4), "it needs a vector"),
}


@pytest.mark.parametrize(("entry", "says"), OBJECTS.values(), ids=OBJECTS.keys())
def test_a_bad_object_is_named_by_its_place_too(ops, entry, says):
    message = refusal(ops, [Conv2D(4), entry, *HEAD])
    assert message.startswith("model.layers[1]")
    assert says in message


def test_objects_and_entries_of_a_config_may_be_mixed(ops):
    layers = [CONV, ReLU(), Branches("multiply", [["relu"], [Conv2D(4), "sigmoid"]]), Residual([Conv2D(4)]), *HEAD]
    model = build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=0)
    names = ["conv2d_1", "relu_1", "relu_2", "conv2d_2", "sigmoid_1", "multiply_1", "conv2d_3", "add_1"]
    assert [node.name for node in model.graph.nodes[:8]] == names
    assert [node.depth for node in model.graph.nodes[:8]] == [0, 0, 1, 1, 1, 0, 1, 0]
    assert repr(model).splitlines()[1].strip().startswith("conv2d_1: Conv2D(filters=4")


def test_a_repeat_shares_no_weights(ops):
    layers = [{"repeat": {"times": 2, "layers": [{"conv2d": {"filters": 3}}]}}, *HEAD]
    model = build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=0)
    first, second = (model.state()[f"conv2d_{i}.weight"] for i in (1, 2))
    assert first.shape == second.shape
    assert (first != second).all()


def test_zero_repeats_are_no_layers(ops):
    layers = [{"repeat": {"times": 0, "layers": ["relu"]}}, *HEAD]
    model = build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=0)
    assert [node.name for node in model.graph.nodes] == ["global_avg_pool2d_1", "dense_1"]


@pytest.mark.parametrize("kernel", [True, 3.0])
def test_what_equals_a_whole_number_is_none(ops, kernel):
    """Geometries are kept by their arguments, among which 1 and True are the same to Python."""
    good = [{"conv2d": {"filters": 4, "kernel": int(kernel)}}, *HEAD]
    build_model({"name": "m", "layers": good}, ops, IMAGE, CLASSES, seed=0)
    assert "kernel must be whole numbers" in refusal(ops, [{"conv2d": {"filters": 4, "kernel": kernel}}, *HEAD])
