"""What a file of weights has: modules with tensors, in the layouts of the library that wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.layers import BatchNorm, Conv2D, Dense, DepthwiseConv2D, GroupNorm, PReLULayer
from cnn.models.graph import Node


@dataclass(frozen=True)
class Module:
    """A layer with weights: its name in the file, its kind, and its tensors by the names that they have here."""

    name: str
    kind: str  # conv, depthwise, dense, batch_norm, norm or prelu
    tensors: Mapping[str, NDArray[Any]]
    eps: float | None = None  # of a norm, if the file says it


@dataclass(frozen=True)
class Weights:
    """The content of a file."""

    modules: Sequence[Module]  # in order
    library: str  # torch or keras: the layouts of the tensors
    channels_first: bool  # whether an image is flattened channel by channel
    scale: Sequence[float] | None = None  # of pixels, per channel, if the file says it
    offset: Sequence[float] | None = None
    classes: Sequence[str] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def kind_of_node(node: Node, library: str) -> str | None:  # noqa: PLR0911 - one case for each kind
    """The kind of module that a node needs; None for a node without weights."""
    match node.layer:
        case DepthwiseConv2D() if library == "keras":
            return "depthwise"
        case Conv2D():
            return "conv"
        case Dense():
            return "dense"
        case BatchNorm():
            return "batch_norm"
        case GroupNorm():
            return "norm"
        case PReLULayer():
            return "prelu"
    return None


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts conv2 before conv10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def as_floats(name: str, value: Any) -> NDArray[np.float32]:
    """A tensor in float32. Raises ValueError for what holds no numbers of that kind."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds {array.dtype}")
    return array.astype(np.float32)
