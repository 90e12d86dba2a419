"""Bad model configs: each is one line that names the entry at fault."""

import pytest

from cnn.models import build_model
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
        "end in (9, 8, 5) but its shortcut in (9, 8, 3)",
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
    "residual of a number": ([{"residual": 3}, *HEAD], "model.layers[0]", "residual takes layers, shortcut, not 3"),
    "unknown argument of a residual": (
        [{"residual": {"layers": ["relu"], "skip": []}}, *HEAD],
        "model.layers[0]",
        "residual has no argument 'skip'",
    ),
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


def test_a_repeat_shares_no_weights(ops):
    layers = [{"repeat": {"times": 2, "layers": [{"conv2d": {"filters": 3}}]}}, *HEAD]
    model = build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=0)
    first, second = (model.parameters[f"conv2d_{i}.weight"].value for i in (1, 2))
    assert first.shape == second.shape
    assert (first != second).all()


def test_zero_repeats_are_no_layers(ops):
    layers = [{"repeat": {"times": 0, "layers": ["relu"]}}, *HEAD]
    model = build_model({"name": "m", "layers": layers}, ops, IMAGE, CLASSES, seed=0)
    assert [leaf.kind for leaf in model.root.leaves()] == ["global_avg_pool2d", "dense"]
