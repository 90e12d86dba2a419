"""Random networks over all layers and joins, each a function of its seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from cnn.layers import LAYERS
from cnn.layers.activations import ActivationLayer

Shape = tuple[int, ...]
Entry = Any  # of a config: a name, or a mapping of one name to its arguments
ACTIVATIONS = sorted(kind for kind, layer in LAYERS.items() if issubclass(layer, ActivationLayer))
PADDINGS = ("same", "same", "same_lower", "valid", "valid", 1, (1, 0), (0, 1, 2, 0))


def network(seed: int, classes: int = 3) -> tuple[Shape, list[Entry]]:
    """The shape of the images, and a list of layers that ends in `classes`."""
    rng = random.Random(seed)
    image = (rng.randint(4, 8), rng.randint(4, 8), rng.randint(1, 3))
    entries, shape = layers(rng, image, 2, 7)
    if len(shape) == 3:
        entries.append(rng.choice(["flatten", "global_avg_pool2d"]))
        shape = (math.prod(shape),) if entries[-1] == "flatten" else (shape[2],)
    return image, [*entries, {"dense": classes}]


def layers(rng: random.Random, shape: Shape, depth: int, most: int) -> tuple[list[Entry], Shape]:
    """Up to `most` entries for inputs of `shape`, branches in branches up to `depth`; and the shape behind them."""
    entries: list[Entry] = []
    for _ in range(rng.randint(0, most)):
        if depth and rng.random() < 0.25:
            entry, shape = _join(rng, shape, depth - 1)
            entries.append(entry)
            continue
        makers: list[Callable[[random.Random, int], tuple[str, dict[str, Any]]]] = [_anywhere, _anywhere]
        makers += [_convolution, _pooling] if len(shape) == 3 else [_dense]
        kind, arguments = rng.choice(makers)(rng, shape[-1])
        try:
            shape = LAYERS[kind](**arguments).output_shape(shape)
        except ValueError:  # the image is too small for it
            continue
        entries.append({kind: arguments} if arguments else kind)
    return entries, shape


def _anywhere(rng: random.Random, channels: int) -> tuple[str, dict[str, Any]]:
    """A layer for images and vectors alike; norms and ReLUs most often."""
    kind = rng.choice(
        [
            "batch_norm",
            "batch_norm",
            "relu",
            "relu",
            "dropout",
            "drop_path",
            "group_norm",
            "layer_norm",
            "prelu",
            "",
            "",
        ]
    )
    if kind == "group_norm":
        return kind, {"groups": rng.choice(_divisors(channels)), "eps": 0.01}
    if kind in ("dropout", "drop_path"):
        return kind, {"rate": rng.choice([0.0, 0.2, 0.5])}
    return kind or rng.choice(ACTIVATIONS), {}


def _convolution(rng: random.Random, channels: int) -> tuple[str, dict[str, Any]]:
    """Grouped, strided, dilated, padded in all ways, or depthwise."""
    common = {
        "kernel": (rng.randint(1, 3), rng.randint(1, 3)),
        "stride": rng.choice([1, 1, 1, 2, (1, 2)]),
        "padding": rng.choice(PADDINGS),
        "dilation": rng.choice([1, 1, 2]),
        "bias": rng.random() < 0.5,
        "l2": rng.choice([0.0, 0.01]),
    }
    if rng.random() < 0.25:
        return "depthwise_conv2d", {"multiplier": rng.randint(1, 2), **common}
    groups = rng.choice(_divisors(channels))
    return "conv2d", {"filters": groups * rng.randint(1, 2), "groups": groups, **common}


def _pooling(rng: random.Random, channels: int) -> tuple[str, dict[str, Any]]:
    """Of neighbouring and of overlapping windows, with `ceil`, dilation and all paddings."""
    arguments = {
        "kernel": rng.choice([2, 2, 3, (1, 2), (3, 2), "all"]),
        "stride": rng.choice([None, None, 1, 2]),
        "padding": rng.choice(PADDINGS),
        "dilation": rng.choice([1, 1, 1, 2]),
        "ceil": rng.random() < 0.5,
    }
    if rng.random() < 0.5:
        return "max_pool2d", arguments
    return "avg_pool2d", {"count_include_pad": rng.random() < 0.5, **arguments}


def _dense(rng: random.Random, channels: int) -> tuple[str, dict[str, Any]]:
    return "dense", {"units": rng.randint(1, 5), "bias": rng.random() < 0.5, "l2": rng.choice([0.0, 0.02])}


def _join(rng: random.Random, shape: Shape, depth: int) -> tuple[Entry, Shape]:
    """A join of branches that fit together, and the shape behind it."""
    kind = rng.choice(["add", "multiply", "concat", "residual", "gate"])
    first, end = layers(rng, shape, depth, 3)
    if kind == "gate" and len(end) == 3:
        gate = [*first, "global_avg_pool2d", {"dense": end[2]}, rng.choice(["sigmoid", "tanh"])]
        branches = [first, gate]
        rng.shuffle(branches)
        return {"multiply": {"branches": branches}}, end
    branches, channels = [first], end[-1]
    for _ in range(1 if kind == "residual" else rng.randint(1, 2)):
        branch = _ended_as(*layers(rng, shape, depth, 3), end, kind == "concat")
        branches.append(list(first) if branch is None else branch[0])
        channels += end[-1] if branch is None else branch[1]
    if kind == "residual":
        return {"residual": {"layers": first, "shortcut": branches[1]}}, end
    if kind == "concat":
        return {"concat": {"branches": branches}}, (*end[:-1], channels)
    return {"add" if kind == "add" else "multiply": {"branches": branches}}, end


def _ended_as(branch: list[Entry], own: Shape, end: Shape, concat: bool) -> tuple[list[Entry], int] | None:
    """The branch, led by a product from the shape `own` to `end`, and its channels; None where none leads there.

    For a concatenation its channels may be any.
    """
    if len(own) > len(end):
        return [*branch, "flatten", {"dense": end[0]}], end[0]
    if own[:-1] != end[:-1]:
        return None
    if concat or own == end:
        return branch, own[-1]
    return [*branch, {"conv2d": {"filters": end[2], "kernel": 1}} if len(end) == 3 else {"dense": end[0]}], end[-1]


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
