"""A network as operations for the page's engine: a description in types of JSON, and the weights as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Window
from cnn.exporting.network import Portable
from cnn.exporting.windows import pads, plain_average, shares
from cnn.layers import (
    Add,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    LayerNorm,
    MaxPool2D,
    Multiply,
    PReLULayer,
)
from cnn.layers.activations import ActivationLayer
from cnn.layers.dropout import RandomDrop
from cnn.models.graph import INPUT, Node
from foundation.errors import UserError

# Operations through which the engine computes gradients, from the logits back to the last feature map.
_BACKWARD = {"dense", "affine", "activation", "prelu", "max", "average", "mean", "flatten"}


@dataclass
class PageGraph:
    """The operations, and the weights behind each other."""

    network: Portable
    operations: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def description(self) -> dict[str, Any]:
        """The description for `Engine.Network`."""
        return {
            "shape": list(self.network.shape),
            "classes": list(self.network.classes),
            "scale": self.network.scaling.scale.tolist(),
            "offset": self.network.scaling.offset.tolist(),
            "operations": self.operations,
            "map": self._map(),
        }

    def weights(self) -> bytes:
        """The bytes to which the description refers."""
        return b"".join(self.parts)

    def add(
        self, kind: str, inputs: Sequence[int], shape: tuple[int, ...], tensors: dict[str, Any], **more: Any
    ) -> int:
        """Add an operation with its weights; return its number."""
        entry = {"kind": kind, "inputs": list(inputs), **more}
        for key, tensor in tensors.items():
            entry[key] = self._stored(np.asarray(tensor, np.float32), exact=key == "shares")
        self.operations.append(entry)
        self.shapes.append(shape)
        return len(self.operations) - 1

    def _stored(self, tensor: NDArray[np.float32], exact: bool) -> list[Any]:
        """Offset in bytes, count and type of a tensor. Numbers that come from folding are float32, too."""
        half = self.network.weights == "float16" and not exact and (tensor == tensor.astype(np.float16)).all()
        data = np.ascontiguousarray(tensor.astype(np.float16) if half else tensor).tobytes()
        self.parts.append(data + b"\0" * (-len(data) % 4))
        at, self.size = self.size, self.size + len(self.parts[-1])
        return [at, tensor.size, "float16" if half else "float32"]

    def _map(self) -> int | None:
        """The last operation that gives an image, if the engine has the gradient from the logits to it; else None."""
        for index in range(len(self.operations) - 1, -1, -1):
            shape = self.shapes[index]
            if len(shape) == 3 and shape[0] * shape[1] > 1:
                return index
            entry = self.operations[index]
            if entry["kind"] not in _BACKWARD or entry["inputs"] != [index - 1]:
                return None
        return None


def page_graph(network: Portable) -> PageGraph:
    """The operations of `network`. Raises `UserError` if it does not take images that a browser has."""
    network.check_known("the page")
    if len(network.shape) != 3 or not network.scaling.of_bytes or network.shape[2] not in (1, 3):
        raise UserError("format=page: the page shows images of 1 or 3 channels, and this network takes something else")
    graph, at = PageGraph(network), {INPUT: -1}
    for index, node in enumerate(network.graph.nodes):
        at[index] = _add(graph, node, [at[given] for given in node.inputs])
    return graph


def _add(graph: PageGraph, node: Node, inputs: list[int]) -> int:  # noqa: PLR0911 - one case for each layer
    layer, shape, tensors = node.layer, node.shape, graph.network.of_node(node)
    match layer:
        case Conv2D():
            groups, filters = layer.groups_and_filters(node.input_shape[2])
            more = {**_window(layer.window(node.input_shape)), "groups": groups, "filters": filters}
            return graph.add("conv", inputs, shape, tensors, **more)
        case Dense():
            return graph.add("dense", inputs, shape, tensors, filters=shape[0])
        case BatchNorm():
            scale = tensors["gamma"] / np.sqrt(tensors["variance"].astype(np.float64) + layer.eps)
            shift = tensors["beta"] - tensors["mean"] * scale
            return graph.add("affine", inputs, shape, {"scale": scale, "shift": shift})
        case GroupNorm():
            more = {"groups": layer.groups, "eps": layer.eps, "pixels": isinstance(layer, LayerNorm)}
            return graph.add("group_norm", inputs, shape, tensors, **more)
        case RandomDrop():
            return inputs[0]
        case ActivationLayer():
            name, a, b = layer.activation.name, layer.activation.a, layer.activation.b
            return graph.add("activation", inputs, shape, {}, name=name, a=a, b=b)
        case PReLULayer():
            return graph.add("prelu", inputs, shape, tensors)
        case MaxPool2D():
            return graph.add("max", inputs, shape, {}, **_window(layer.window(node.input_shape)))
        case AvgPool2D():
            window = layer.window(node.input_shape)
            counts = {} if plain_average(window) else {"shares": shares(layer, window)}
            return graph.add("average", inputs, shape, counts, **_window(window))
        case GlobalAvgPool2D():
            return graph.add("mean", inputs, shape, {})
        case Flatten():
            return graph.add("flatten", inputs, shape, {})
        case Add() | Multiply() | Concat():
            return graph.add(type(layer).__name__.lower(), inputs, shape, {})
    raise AssertionError(f"no operation of the page for {layer!r}")


def _window(window: Window) -> dict[str, Any]:
    return {
        "kernel": list(window.kernel),
        "stride": list(window.stride),
        "dilation": list(window.dilation),
        "pads": list(pads(window)),
        "output": list(window.output_hw),
    }
