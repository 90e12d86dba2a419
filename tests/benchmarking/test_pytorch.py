"""The networks in PyTorch are the same networks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarking.stand_ins import options
from cnn.backends import get_ops
from cnn.benchmarking.models import model_config, without_dropout
from cnn.benchmarking.pytorch import TOLERANCE, differences, modes_of, torch_missing, torch_row
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
POOLED = {"name": "pooled", "layers": [{"conv2d": 4}, "relu", "global_avg_pool2d", {"dense": {"units": "classes"}}]}
SHAPE, CLASSES = (13, 14, 1), 7


def built(config, seed=0):
    return build_model(config, get_ops("numpy", 1), SHAPE, CLASSES, seed)


def data(count=6):
    random = np.random.default_rng(3)
    return random.standard_normal((count, *SHAPE), np.float32), random.integers(0, CLASSES, count)


@WITH_TORCH
@pytest.mark.parametrize("config", [EVERY_LAYER, POOLED, model_config("lenet")], ids=lambda config: config["name"])
def test_loss_and_gradients_of_a_step_are_the_same(config):
    found = differences(config, built(config), *data(), "cpu")
    assert max(found["loss"], found["gradients"], found["worst"]) < TOLERANCE / 10


@WITH_TORCH
def test_another_network_is_not_the_same(monkeypatch):
    import torch  # noqa: PLC0415

    monkeypatch.setattr(torch.nn.ReLU, "forward", lambda self, x: torch.nn.functional.leaky_relu(x, 0.1))
    assert differences(EVERY_LAYER, built(EVERY_LAYER), *data(), "cpu")["gradients"] > TOLERANCE


@WITH_TORCH
@pytest.mark.parametrize("overrides", [[], ["optimizer=adamw"], ["optimizer=sgd"]])
def test_rows_of_pytorch_have_a_speed(overrides):
    config = options(*overrides)
    for mode in modes_of("eager"):
        row = torch_row(config, built(EVERY_LAYER), *data(), mode, "cpu", steps=1, warm_up=1)
        assert "error" not in row
        assert row["images_per_second"] > 0


@WITH_TORCH
def test_a_mode_that_fails_is_told_in_its_row(monkeypatch):
    import torch  # noqa: PLC0415

    def no_compiler(*_arguments, **_options):
        raise RuntimeError("no C++ compiler\nand a long trace")

    monkeypatch.setattr(torch, "compile", no_compiler)
    row = torch_row(options(), built(POOLED), *data(), ("compiled, fp32", True, False), "cpu", steps=1, warm_up=1)
    assert row == {"mode": "compiled, fp32", "error": "RuntimeError: no C++ compiler"}


@WITH_TORCH
def test_switches_of_pytorch_are_put_back():
    import torch  # noqa: PLC0415

    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    torch_row(options(), built(POOLED), *data(), modes_of("eager")[0], "cpu", steps=1, warm_up=0)
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == before


def test_without_pytorch_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert torch_missing() == "PyTorch is not installed"


def test_models_lose_their_dropout_and_nothing_else():
    config = {"name": "m", "layers": ["relu", {"dropout": 0.1}, {"residual": {"layers": [{"dropout": 0.2}, "relu"]}}]}
    assert without_dropout(config) == {"name": "m", "layers": ["relu", {"residual": {"layers": ["relu"]}}]}
    assert set(built(without_dropout(EVERY_LAYER)).parameters) == set(built(EVERY_LAYER).parameters)


def test_what_is_compared_is_asked_for():
    assert modes_of(False) == []
    assert [name for name, *_ in modes_of("eager")] == ["eager, fp32", "eager, bf16 autocast"]
    assert len(modes_of("auto")) == 4
