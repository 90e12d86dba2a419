"""Small networks in which layers meet in every way that a plan decides about, and a few helpers around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cnn.backends import Ops
from cnn.models import Model, build_model

IMAGE, CLASSES, BATCH = (7, 6, 2), 3, 4
CLOCK = np.array([3])  # the training step: dropout draws the same mask each time

CONV = {"conv2d": {"filters": 4}}
NARROW = {"conv2d": {"filters": 2}}
HEAD = ["global_avg_pool2d", {"dense": "classes"}]
FLAT = ["flatten", {"dense": "classes"}]
GATE = ["global_avg_pool2d", {"dense": 3}, "relu", {"dense": 4}, "sigmoid"]

NETWORKS: dict[str, list[Any]] = {
    # --- a product and what follows it ---
    "conv_relu": [CONV, "relu", *HEAD],
    "conv_relu_norm_dropout_pool": [CONV, "relu", "batch_norm", {"dropout": 0.2}, {"max_pool2d": 2}, *FLAT],
    "conv_relu_norm_pool_dropout": [CONV, "relu", "batch_norm", {"max_pool2d": 2}, {"dropout": 0.2}, *FLAT],
    "conv_norm_relu_pool": [{"conv2d": {"filters": 4, "bias": False}}, "batch_norm", "relu", {"max_pool2d": 2}, *FLAT],
    "conv_norm_pool": [CONV, "batch_norm", {"max_pool2d": [3, 2]}, *FLAT],
    "conv_norm_overlapping_pool": [
        CONV,
        "batch_norm",
        "relu",
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": "same", "ceil": True}},
        *FLAT,
    ],
    "conv_norm_average_pool": [
        CONV,
        "batch_norm",
        "silu",
        {"avg_pool2d": {"kernel": [2, 3], "padding": "same"}},
        *FLAT,
    ],
    "pool_before_norm": [CONV, {"max_pool2d": 2}, "batch_norm", "relu", *FLAT],
    "dropout_before_norm": [CONV, {"dropout": 0.3}, "batch_norm", "relu", *FLAT],
    "input_activations_before_norm": [CONV, "gelu", "batch_norm", {"leaky_relu": 0.2}, "batch_norm", *FLAT],
    "output_activations_before_norm": [CONV, "tanh", "batch_norm", "sigmoid", CONV, "relu6", "batch_norm", *FLAT],
    "prelu_then_norm": [CONV, "prelu", "batch_norm", "prelu", {"max_pool2d": 2}, *FLAT],
    "two_norms": [CONV, "batch_norm", "batch_norm", "relu", *FLAT],
    "norm_on_both_sides": [CONV, "batch_norm", "relu", "batch_norm", *FLAT],
    "two_relus": [CONV, "relu", "relu", *FLAT],
    "two_pools": [CONV, "relu", {"max_pool2d": 2}, {"avg_pool2d": {"kernel": 2, "stride": 1}}, *FLAT],
    "two_dropouts": [CONV, {"dropout": 0.2}, {"dropout": 0.3}, *FLAT],
    "group_norms": [CONV, {"group_norm": 2}, "relu", CONV, "layer_norm", "hard_swish", *HEAD],
    "grouped_and_dilated": [
        CONV,
        {"conv2d": {"filters": 6, "kernel": [3, 2], "groups": 2, "dilation": [2, 1], "stride": [1, 2]}},
        "relu",
        "batch_norm",
        *HEAD,
    ],
    "depthwise": [
        CONV,
        {"depthwise_conv2d": {"multiplier": 2, "bias": False, "l2": 0.01}},
        "batch_norm",
        "relu",
        {"conv2d": {"filters": 5, "kernel": 1, "padding": [1, 0, 2, 1]}},
        "mish",
        *HEAD,
    ],
    "patch_whitening": [{"patch_whitening": {"kernel": 2}}, "batch_norm", "relu", CONV, "relu", *HEAD],
    "dense": ["flatten", {"dense": {"units": 5, "l2": 0.03}}, "relu", "batch_norm", {"dropout": 0.5}, {"dense": 3}],
    "dense_norm_relu": ["flatten", {"dense": {"units": 5, "bias": False}}, "batch_norm", "relu", {"dense": 3}],
    # --- norms that inference multiplies into weights, and those that it cannot ---
    "norms_of_products_without_bias": [
        {"depthwise_conv2d": {"multiplier": 2, "bias": False}},
        "batch_norm",
        "relu",
        {"conv2d": {"filters": 4, "groups": 2, "stride": 2, "bias": False}},
        "batch_norm",
        "flatten",
        {"dense": {"units": 5, "bias": False}},
        "batch_norm",
        {"dense": 3},
    ],
    "norms_in_front_of_dense": [
        "flatten",
        {"dense": 9},
        "relu",
        "batch_norm",
        {"dropout": 0.5},
        {"dense": {"units": 5, "bias": False}},
        "batch_norm",
        "batch_norm",
        {"dense": 3},
    ],
    "norm_between_flatten_and_dense": [CONV, "flatten", "batch_norm", {"dense": "classes"}],
    "norm_in_front_of_two_dense": [
        "flatten",
        {"dense": 4},
        "batch_norm",
        {"concat": {"branches": [[{"dense": 2}], ["batch_norm", {"dense": 3}]]}},
        {"dense": 3},
    ],
    "norm_behind_pool_and_activation": [CONV, "elu", "batch_norm", {"max_pool2d": 3}, {"dropout": 0.3}, *FLAT],
    # --- the ends of a network ---
    "norm_first": ["batch_norm", "relu", {"max_pool2d": 2}, CONV, *HEAD],
    "pool_first": [{"max_pool2d": 2}, "batch_norm", {"dropout": 0.2}, CONV, *HEAD],
    "dropout_first": [{"dropout": 0.2}, CONV, "relu", *HEAD],
    "relu_last": [CONV, "flatten", {"dense": "classes"}, "relu"],
    "norm_last": [CONV, "flatten", {"dense": "classes"}, "batch_norm"],
    "dropout_last": [CONV, "flatten", {"dense": "classes"}, {"dropout": 0.2}],
    "no_parameters": [{"add": {"branches": [[], []]}}, {"avg_pool2d": {"kernel": [7, 2]}}, "flatten", {"dense": 3}],
    # --- branches ---
    "residual_add_relu": [CONV, "relu", {"residual": {"layers": [CONV, "batch_norm"]}}, "relu", *HEAD],
    "residual_of_two": [
        CONV,
        {"residual": {"layers": [CONV, "batch_norm", "relu", CONV, "batch_norm"]}},
        "relu",
        {"max_pool2d": 2},
        *FLAT,
    ],
    "residual_with_shortcut": [
        CONV,
        {
            "residual": {
                "layers": [{"conv2d": {"filters": 6, "stride": 2}}, "batch_norm", "gelu", {"conv2d": {"filters": 6}}],
                "shortcut": [{"conv2d": {"filters": 6, "kernel": 1, "stride": 2, "bias": False}}, "batch_norm"],
            }
        },
        "silu",
        *HEAD,
    ],
    "residual_first": [{"residual": {"layers": [NARROW, "silu"]}}, *HEAD],
    "residual_first_with_shortcut": [
        {"residual": {"layers": [CONV, "relu"], "shortcut": [{"conv2d": {"filters": 4, "kernel": 1}}, "relu"]}},
        *HEAD,
    ],
    "residual_in_residual": [
        CONV,
        {"residual": {"layers": ["gelu", {"residual": {"layers": ["batch_norm", CONV]}}]}},
        *HEAD,
    ],
    "residual_of_nothing_but_a_norm": [CONV, {"residual": {"layers": ["batch_norm"]}}, "relu", *HEAD],
    "residual_with_stochastic_depth": [
        CONV,
        "relu",
        {"residual": {"layers": [CONV, "batch_norm"], "drop_path": 0.5}},
        "relu",
        {"residual": {"layers": ["batch_norm", "relu", CONV], "shortcut": [{"conv2d": 4}], "drop_path": 0.4}},
        *HEAD,
    ],
    "drop_path_between_norms": [CONV, "batch_norm", {"drop_path": 0.5}, "batch_norm", "relu", *HEAD],
    "drop_path_first_and_last": [{"drop_path": 0.5}, CONV, "flatten", {"dense": "classes"}, {"drop_path": 0.3}],
    "residual_of_dropout": [CONV, "relu", {"residual": {"layers": [{"dropout": 0.3}]}}, *HEAD],
    "x_plus_x": [CONV, "relu", {"add": {"branches": [[], []]}}, "batch_norm", *HEAD],
    "x_times_x": [CONV, {"multiply": {"branches": [[], []]}}, {"max_pool2d": 2}, *FLAT],
    "three_summands": [
        CONV,
        {"add": {"branches": [[CONV, "relu"], [], [{"conv2d": {"filters": 4, "kernel": 1}}, "batch_norm"]]}},
        "relu",
        *HEAD,
    ],
    "fan_out_behind_a_norm": [
        CONV,
        "batch_norm",
        {"add": {"branches": [["relu", CONV], ["tanh"]]}},
        {"dropout": 0.2},
        *HEAD,
    ],
    "squeeze_excite": [
        CONV,
        "relu",
        {"residual": {"layers": [CONV, "batch_norm", {"multiply": {"branches": [[], GATE]}}]}},
        "relu",
        *HEAD,
    ],
    "gate_before_its_image": [CONV, {"multiply": {"branches": [GATE, [CONV, "batch_norm", "relu"]]}}, *HEAD],
    "gate_behind_its_image": [CONV, {"multiply": {"branches": [[CONV, "batch_norm", "relu"], GATE]}}, *HEAD],
    "gated_activation": [
        {"multiply": {"branches": [[CONV], [CONV, "sigmoid"]]}},
        {"multiply": {"branches": [["tanh"], ["batch_norm", "sigmoid", {"dropout": 0.2}]]}},
        *HEAD,
    ],
    "dense_net": [
        CONV,
        {"concat": {"branches": [[], ["batch_norm", "relu", NARROW]]}},
        {"concat": {"branches": [[], ["batch_norm", "relu", NARROW, {"dropout": 0.1}]]}},
        "batch_norm",
        "relu",
        {"avg_pool2d": 2},
        *FLAT,
    ],
    "concat_of_the_same": [CONV, {"concat": {"branches": [[], [], ["relu"]]}}, "batch_norm", *HEAD],
    "concat_of_vectors": [
        "flatten",
        {"concat": {"branches": [[{"dense": 3}, "relu"], [{"dense": 2}], [{"dense": 4}, "batch_norm"]]}},
        {"dense": "classes"},
    ],
    "branches_in_branches": [
        CONV,
        {
            "add": {
                "branches": [
                    ["relu", {"concat": {"branches": [[NARROW], [NARROW, "batch_norm"]]}}],
                    [{"multiply": {"branches": [["sigmoid"], [CONV, {"residual": {"layers": [CONV, "relu"]}}]]}}],
                ]
            }
        },
        {"max_pool2d": 2},
        *FLAT,
    ],
    "repeat_of_residuals": [
        CONV,
        {"repeat": {"times": 2, "layers": [{"residual": {"layers": [CONV, "batch_norm"]}}, "relu"]}},
        *HEAD,
    ],
    "everything": [
        {"conv2d": {"filters": 4, "l2": 0.01}},
        "batch_norm",
        "silu",
        {"max_pool2d": {"kernel": 2, "stride": 1}},
        {"residual": {"layers": [{"depthwise_conv2d": {}}, {"conv2d": {"filters": 4, "kernel": 1}}, {"dropout": 0.2}]}},
        {"elu": 1.0},
        {"avg_pool2d": 2},
        "flatten",
        {"dense": {"units": 6, "l2": 0.02}},
        {"leaky_relu": 0.1},
        "batch_norm",
        {"dropout": 0.3},
        {"dense": {"units": "classes"}},
    ],
}


def build(ops: Ops, layers: Any, dtype: str = "float64", seed: int = 1, **options: Any) -> Model:
    """A network for `IMAGE` and `CLASSES`."""
    return build_model({"name": "tiny", "layers": layers}, ops, IMAGE, CLASSES, seed, dtype, **options)


def unsettle(model: Model, rng: np.random.Generator) -> Model:
    """The model with biases, norms and running statistics away from their initial values."""
    for name, tensor in model.values.tensors.items():
        spread = 0.5 if name.endswith((".gamma", ".beta", ".bias")) else 0.1
        tensor[...] += (spread * rng.normal(size=tensor.shape)).astype(tensor.dtype)
    for tensor in model.statistics.tensors.values():
        tensor[0] += rng.normal(size=tensor.shape[1]).astype(tensor.dtype)
        tensor[1] *= rng.uniform(0.5, 2, tensor.shape[1]).astype(tensor.dtype)
    model.update_rounded()
    return model


def kinds(entries: Any) -> Iterator[str]:
    """The names of all layers, joins and repetitions in a list of entries."""
    for entry in entries:
        name, arguments = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        yield name
        if name in ("repeat", "residual"):
            yield from kinds(arguments["layers"])
            yield from kinds(arguments.get("shortcut", []))
        if isinstance(arguments, dict):
            for branch in arguments.get("branches", []):
                yield from kinds(branch)
