"""Networks with random weights, running statistics too, so that no tensor can be left out or mixed up unseen."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn.backends import Ops, get_ops
from cnn.exporting.network import Portable
from cnn.exporting.parity import check_inputs
from cnn.models import build_model
from cnn.training.pixel_scaling import PixelScaling
from foundation.config import config_dir
from foundation.plain_config import read_group

SHIPPED = [path.stem for path in sorted((config_dir() / "model").glob("*.yaml"))]
_CONV = {"conv2d": {"filters": 6}}
# Lists of layers that no shipped network has: each layer and join in some odd setting.
ODD: dict[str, list[Any]] = {
    "pooling": [
        _CONV,
        {"conv2d": {"filters": 6, "kernel": [3, 2], "stride": [2, 1], "padding": "same_lower"}},
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": 1, "ceil": True}},
        {"avg_pool2d": {"kernel": 3, "stride": 2, "padding": 1, "ceil": True}},
        {"avg_pool2d": {"kernel": 2, "stride": 1, "padding": [0, 1], "count_include_pad": True}},
        {"max_pool2d": {"kernel": 2, "dilation": 2, "padding": [2, 1, 0, 2], "stride": 1}},
        "flatten",
        {"dense": "classes"},
    ],
    "norms": [
        {"conv2d": {"filters": 8, "padding": [1, 0, 2, 3]}},
        {"group_norm": 4},
        "gelu",
        {"conv2d": {"filters": 12, "groups": 4, "bias": False}},
        "layer_norm",
        "mish",
        {"depthwise_conv2d": {"multiplier": 2, "kernel": 5, "dilation": 2}},
        "prelu",
        "global_avg_pool2d",
        {"group_norm": 3},
        "silu",
        {"dense": 8},
        "layer_norm",
        "prelu",
        "batch_norm",
        {"dense": {"units": "classes", "bias": False}},
    ],
    "activations": [
        {"conv2d": {"filters": 4, "kernel": 2, "stride": 3}},
        *("relu6", {"clip": {"low": -1.5, "high": 2.0}}, {"leaky_relu": 0.2}, {"elu": 0.7}, "selu", "softplus"),
        *("hard_swish", "sigmoid", "tanh", {"avg_pool2d": "all"}, "flatten", {"dense": "classes"}),
    ],
    "joins": [
        {"conv2d": 4},
        {"concat": {"branches": [[], ["relu", {"conv2d": 3}], [{"conv2d": {"filters": 2, "dilation": 2}}]]}},
        {"add": {"branches": [[], ["tanh"], ["sigmoid"]]}},
        {"multiply": {"branches": [[], ["global_avg_pool2d", {"dense": 9}, "sigmoid"]]}},
        {"multiply": {"branches": [["sigmoid"], []]}},
        {"residual": {"layers": ["batch_norm"], "drop_path": 0.2}},
        {"concat": {"branches": [["global_avg_pool2d"], [{"max_pool2d": "all"}, "flatten"]]}},
        {"multiply": {"branches": [[], ["relu"]]}},
        {"dense": "classes"},
    ],
    "dense": [{"patch_whitening": {"kernel": 2, "padding": "valid"}}, "flatten", "batch_norm", {"dense": "classes"}],
}
# Hostile names: quotes, markup, a line break, other alphabets, and code.
CLASSES = ('a\'"""b', "</script><b>", "line\nbreak {{x}}", "радость 🙂", "__import__('os')")


@functools.cache
def _ops() -> Ops:
    """The compiled engine where it is, because it is faster."""
    return get_ops("cpu" if find_spec("numba") else "numpy", *((1,) if find_spec("numba") else ()))


def network(
    model: str | list[Any], shape: tuple[int, ...] = (19, 22, 3), seed: int = 3, floats: bool = False, logits: float = 4
) -> Portable:
    """A shipped network by its name, or a list of layers, with random weights and logits up to about `logits`."""
    config = _narrow(model) if isinstance(model, str) else {"name": "odd", "layers": model}
    ops, rng = _ops(), np.random.default_rng(seed)
    tensors = {}
    for name, value in build_model(config, ops, shape, len(CLASSES), seed).state().items():
        kind = name.rpartition(".")[2]
        draws = {
            "gamma": lambda s: rng.uniform(0.5, 1.5, s),
            "variance": lambda s: rng.uniform(0.5, 2, s),
            "beta": lambda s: rng.normal(0, 0.3, s),
            "mean": lambda s: rng.normal(0, 0.3, s),
            "bias": lambda s: rng.normal(0, 0.3, s),
            "slope": lambda s: rng.uniform(-0.5, 0.5, s),
        }
        tensors[name] = np.asarray(draws[kind](value.shape) if kind in draws else value, np.float32)
    scale = rng.uniform(0.01, 0.02, shape[-1]).astype(np.float64 if floats else np.float32)
    metadata = {
        "model": config,
        "classes": list(CLASSES),
        "image_shape": list(shape),
        "pixel_type": "float" if floats else "uint8",
        "pixel_scale": scale.tolist(),
        "pixel_offset": (-120 * scale).tolist(),
        "pack_hash": None,
        "seed": 0,
        "epoch": 1,
        **{group: {} for group in ("optimizer", "schedule", "augment")},
        "trainer": {"class_weights": "none"},
    }
    scaling = PixelScaling(scale, -120 * scale)
    found = Portable(config, shape, CLASSES, scaling, tensors, ops, about={"metadata": metadata, "results": {}})
    return _tempered(found, logits)


def _narrow(model: str) -> dict[str, Any]:
    """A shipped network with a quarter of its channels, for speed: the structure is the same."""
    whole = read_group("model", model)
    keys = ("widths", "dense_widths", "expanded", "head", "squeezed")
    fewer = {
        key: [max(4, each // 4) for each in value] if isinstance(value, list) else max(4, value // 4)
        for key, value in whole.items()
        if key in keys
    }
    return read_group("model", model, **fewer)


def _tempered(found: Portable, most: float) -> Portable:
    """The same with the last dense layer scaled, so that probabilities are not all 0 or 1."""
    factor = most / float(np.abs(found.logits(check_inputs(found)[:4])).max())
    head = found.graph.nodes[-1].name
    scaled = {name: t * np.float32(factor) if name.startswith(f"{head}.") else t for name, t in found.tensors.items()}
    return replace(found, tensors=scaled)


def beside(path: Path) -> list[str]:
    """The names of everything in the folder of `path`."""
    return sorted(each.name for each in path.parent.iterdir())


def keras_or_skip() -> Any:
    """Keras on PyTorch; its own default is TensorFlow."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras", reason="the extra `keras` is not installed")
