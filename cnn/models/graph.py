"""The graph of a network: nodes in the order of computation, each with a layer and the indices of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnn.layers import Dense, Join, Layer, Shape

INPUT = -1  # the index of the network's input


@dataclass(frozen=True)
class Node:
    """One layer at its place in the network. Its name, tensors and place do not depend on the plan."""

    name: str  # such as conv2d_1: the kind, counted from 1 in order of computation
    layer: Layer
    inputs: tuple[int, ...]  # indices of nodes before it, or INPUT
    input_shape: Any  # a shape; for a join a tuple of shapes
    shape: Shape  # of one output example
    place: str  # its entry in the config
    depth: int = 0  # of nested branches around it
    stream: int = 0  # of its random numbers in training, if it draws any

    def __repr__(self) -> str:
        """The name, the layer, and the output shape."""
        return f"{self.name}: {self.layer!r} -> {self.shape}"


@dataclass(frozen=True)
class Graph:
    """All nodes; the last one's output is the network's."""

    nodes: tuple[Node, ...]
    input_shape: Shape
    frozen: int = 0  # so many of the first nodes are not trained: they compute as in inference, without a backward pass

    def shape_of(self, index: int) -> Shape:
        """The shape of one example of node `index`'s output, or of the network's input."""
        return self.input_shape if index == INPUT else self.nodes[index].shape

    @property
    def head(self) -> int | None:
        """The last dense layer, which maps features to classes; None in a network without one."""
        found = [index for index, node in enumerate(self.nodes) if isinstance(node.layer, Dense)]
        return found[-1] if found else None

    def resized(self, input_shape: Shape) -> Graph:
        """The same layers for input of another shape.

        Raises ValueError, naming the node, where a layer cannot have it, and if the shape of a parameter depends on it,
        as in a dense layer behind `flatten`.
        """
        nodes: list[Node] = []
        for node in self.nodes:
            given = tuple(input_shape if index == INPUT else nodes[index].shape for index in node.inputs)
            own = given if isinstance(node.layer, Join) else given[0]
            nodes.append(replace(node, input_shape=own, shape=_output_shape(node.layer, own, node.place)))
            before, after = (node.layer.parameters(shape, "he_normal") for shape in (node.input_shape, own))
            for key, parameter in before.items():
                if parameter.shape != after[key].shape:
                    raise ValueError(
                        f"{node.place}: {node.name}.{key} would be {after[key].shape} instead of {parameter.shape}; "
                        "networks that end in global_avg_pool2d can have images of other sizes"
                    )
        return Graph(tuple(nodes), tuple(input_shape), self.frozen)

    def consumers(self) -> dict[int, list[int]]:
        """The nodes that read each output, by index; for the network's output also the number of nodes."""
        found: dict[int, list[int]] = {index: [] for index in range(INPUT, len(self.nodes))}
        for index, node in enumerate(self.nodes):
            for given in node.inputs:
                found[given].append(index)
        found[len(self.nodes) - 1].append(len(self.nodes))
        return found

    def index(self, name: str) -> int:
        """The index of the node `name`. Raises KeyError with the known names."""
        for index, node in enumerate(self.nodes):
            if node.name == name:
                return index
        raise KeyError(f"there is no node '{name}'; the nodes are: {', '.join(node.name for node in self.nodes)}")


class GraphMaker:
    """Adds nodes one by one, checks their shapes and names them."""

    def __init__(self, input_shape: Shape) -> None:
        self.input_shape = tuple(input_shape)
        self.nodes: list[Node] = []
        self._counts: dict[str, int] = {}

    def shape_of(self, index: int) -> Shape:
        """The shape of one example of node `index`'s output, or of the network's input."""
        return self.input_shape if index == INPUT else self.nodes[index].shape

    def add(self, kind: str, layer: Layer, inputs: Sequence[int], place: str, depth: int) -> int:
        """Add a node after `inputs`; return its index. Raises ValueError, naming place and kind, for a wrong shape."""
        if layer.sees_images and list(inputs) != [INPUT]:
            raise ValueError(f"{place} ({kind}): it is computed from the training images, so it must be a first layer")
        shapes = tuple(self.shape_of(index) for index in inputs)
        input_shape = shapes if isinstance(layer, Join) else shapes[0]
        shape = _output_shape(layer, input_shape, f"{place} ({kind})")
        self._counts[kind] = self._counts.get(kind, 0) + 1
        name = f"{kind}_{self._counts[kind]}"
        self.nodes.append(Node(name, layer, tuple(inputs), input_shape, shape, place, depth))
        return len(self.nodes) - 1


def _output_shape(layer: Layer, input_shape: Any, place: str) -> Shape:
    try:
        return tuple(layer.output_shape(input_shape))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place}: {error}") from error
