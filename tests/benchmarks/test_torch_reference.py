"""The networks in PyTorch are the same networks."""

from __future__ import annotations

import sys

import pytest
from stand_ins import options

import cnn.layers
from benchmarks.models import model_config, without_dropout
from benchmarks.step.torch_rows import MODES, modes_of, torch_row
from benchmarks.torch_comparison import TOLERANCE, differences, largest
from benchmarks.torch_reference import LAYOUTS, torch_missing
from benchmarks.workload import noise, standardized
from cnn.backends import get_ops
from cnn.layers import LAYERS
from cnn.models import build_model

WITH_TORCH = pytest.mark.skipif(bool(torch_missing()), reason="PyTorch is not installed")

EVERY_LAYER = {
    "name": "every_layer",
    "layers": [
        {"conv2d": {"filters": 8, "kernel": 4, "stride": 2}},
        "relu",
        {"conv2d": {"filters": 12, "groups": 2, "bias": False}},
        "batch_norm",
        "relu",
        {"dropout": 0.5},
        {"residual": {"layers": [{"conv2d": {"filters": 12, "dilation": 2}}, "batch_norm", {"dropout": 0.5}]}},
        {"residual": {"layers": [{"conv2d": {"filters": 12}}], "drop_path": 0.5}},
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": "same"}},
        {"depthwise_conv2d": {"kernel": 3, "multiplier": 2}},
        {"residual": {"layers": [{"conv2d": {"filters": 6}}], "shortcut": [{"conv2d": {"filters": 6, "kernel": 1}}]}},
        "flatten",
        {"dense": {"units": 10, "l2": 0.01}},
        "relu",
        "batch_norm",
        {"dense": {"units": "classes"}},
    ],
}
# All activations, one behind the other, each behind a product that keeps its input spread out.
ACTIVATIONS = {
    "name": "activations",
    "layers": [
        *(
            entry
            for activation in (
                *("relu", "relu6", {"clip": {"low": -0.5, "high": 0.75}}, {"leaky_relu": 0.1}, "prelu", {"elu": 0.5}),
                *("selu", "gelu", "silu", "mish", "softplus", "hard_swish", "sigmoid", "tanh"),
            )
            for entry in ({"conv2d": {"filters": 6, "kernel": 2}}, activation)
        ),
        "global_avg_pool2d",
        {"dense": {"units": "classes"}},
    ],
}
NORMS = {
    "name": "norms",
    "layers": [
        {"conv2d": {"filters": 12, "bias": False}},
        {"group_norm": 4},
        "relu",
        {"conv2d": {"filters": 8, "padding": "same_lower", "kernel": 4}},
        "layer_norm",
        "silu",
        "batch_norm",
        {"avg_pool2d": {"kernel": 3, "stride": 2, "padding": 1, "ceil": True, "count_include_pad": True}},
        {"conv2d": {"filters": 8}},
        {"max_pool2d": {"kernel": 2, "ceil": True, "dilation": 2, "stride": 1}},
        "flatten",
        "layer_norm",
        {"dense": {"units": 12}},
        {"group_norm": 3},
        "gelu",
        {"dense": {"units": "classes"}},
    ],
}
_GATE = ["global_avg_pool2d", {"dense": 4}, "relu", {"dense": 8}, "sigmoid"]
_SAME = {"kernel": 3, "stride": 1, "padding": "same"}
JOINS = {
    "name": "joins",
    "layers": [
        {"conv2d": {"filters": 8}},
        {"residual": {"layers": [{"conv2d": {"filters": 8}}, "batch_norm", {"multiply": {"branches": [[], _GATE]}}]}},
        "relu",
        {"concat": {"branches": [[], [{"conv2d": {"filters": 5}}, "relu"], [{"avg_pool2d": _SAME}]]}},
        {"multiply": {"branches": [[{"conv2d": {"filters": 6}}], [{"conv2d": {"filters": 6}}, "tanh"]]}},
        {"avg_pool2d": {"kernel": 2, "dilation": 2, "padding": [1, 0, 0, 1], "ceil": True, "stride": 3}},
        {"avg_pool2d": {"kernel": 2, "padding": [1, 0, 0, 1], "ceil": True, "stride": 3, "count_include_pad": True}},
        "flatten",
        {"dropout": 0.2},
        {"dense": {"units": 9}},
        "relu",
        {"dense": {"units": "classes"}},
    ],
}
POOLED = {
    "name": "pooled",
    "layers": [{"patch_whitening": 2}, {"conv2d": 4}, "relu", "global_avg_pool2d", {"dense": {"units": "classes"}}],
}
NETWORKS = (EVERY_LAYER, ACTIVATIONS, NORMS, JOINS, POOLED)
SHAPE, CLASSES = (13, 14, 1), 7


def built(config, seed=0):
    return build_model(config, get_ops("cpu", 1), SHAPE, CLASSES, seed)


def data(count=6):
    return noise(count, SHAPE, CLASSES, seed=3)


def network_data():
    images, labels = data()
    return standardized(images), labels


def compared(config, layout="channels_last", *overrides):
    return differences(options(*overrides), built(without_dropout(config)), *data(32), layout=layout)


@WITH_TORCH
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("config", [*NETWORKS, model_config("lenet")], ids=lambda config: config["name"])
def test_both_compute_the_same(config, layout):
    assert largest({layout: compared(config, layout)})[0] <= TOLERANCE


@WITH_TORCH
def test_every_layer_that_a_config_can_name_is_compared():
    seen = {type(node.layer) for config in NETWORKS for node in built(config).graph.nodes}
    assert seen == set(LAYERS.values()) | set(cnn.layers.JOINS.values())


@WITH_TORCH
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("decoupled", [True, False])
def test_every_optimizer_updates_the_same(optimizer, decoupled):
    overrides = [f"optimizer={optimizer}", f"optimizer.decoupled={decoupled}", "optimizer.weight_decay=0.1"]
    assert largest({"": compared(EVERY_LAYER, "contiguous", *overrides)})[0] <= TOLERANCE


@WITH_TORCH
def test_another_network_is_not_the_same(monkeypatch):
    import torch  # noqa: PLC0415

    monkeypatch.setattr(torch.nn.ReLU, "forward", lambda self, x: torch.nn.functional.leaky_relu(x, 0.1))
    assert compared(EVERY_LAYER)["gradients"] > 10 * TOLERANCE


@WITH_TORCH
@pytest.mark.parametrize("overrides", [[], ["optimizer=adamw"], ["optimizer=sgd"]])
def test_rows_of_pytorch_have_a_speed(overrides):
    config = options(*overrides)
    for mode in modes_of("eager"):
        row = torch_row(config, built(EVERY_LAYER), *network_data(), mode, "cpu", steps=1, warm_up=1)
        assert "error" not in row
        assert row["images_per_second"] > 0


@WITH_TORCH
def test_a_mode_that_fails_is_told_in_its_row(monkeypatch):
    import torch  # noqa: PLC0415

    def no_compiler(*_arguments, **_options):
        raise RuntimeError("no C++ compiler\nand a long trace")

    monkeypatch.setattr(torch, "compile", no_compiler)
    row = torch_row(options(), built(POOLED), *network_data(), MODES["compiled"][0], "cpu", steps=1, warm_up=1)
    assert row == {"mode": "compiled, fp32", "error": "RuntimeError: no C++ compiler"}


@WITH_TORCH
def test_switches_of_pytorch_are_put_back():
    import torch  # noqa: PLC0415

    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    torch_row(options(), built(POOLED), *network_data(), modes_of("eager")[0], "cpu", steps=1, warm_up=0)
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == before


def test_without_pytorch_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert torch_missing() == "PyTorch is not installed"


def test_models_lose_their_dropout_and_nothing_else():
    block = {"residual": {"layers": [{"dropout": 0.2}, "relu"], "drop_path": 0.3}}
    config = {"name": "m", "drop_path": 0.1, "layers": ["relu", {"dropout": 0.1}, block, {"drop_path": 0.2}]}
    assert without_dropout(config) == {"name": "m", "layers": ["relu", {"residual": {"layers": ["relu"]}}]}
    assert set(built(without_dropout(EVERY_LAYER)).state()) == set(built(EVERY_LAYER).state())


def test_what_is_compared_is_asked_for():
    assert modes_of(False) == []
    assert [mode.name for mode in modes_of("eager")] == ["eager, fp32", "eager, bf16 autocast"]
    assert len(modes_of("auto")) == 4
