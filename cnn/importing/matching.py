"""Finds the module of a file for each node of a network, and converts its tensors to our layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cnn.importing.modules import Module, Weights, kind_of_node
from cnn.layers import BatchNorm, Concat, Conv2D, Dense, DepthwiseConv2D, Flatten, GroupNorm, Layer
from cnn.models.graph import INPUT, Graph, Node
from cnn.models.model import Model
from foundation.errors import UserError

Order = NDArray[np.int64]  # of each number of a vector here, its index in a vector flattened channel by channel


def match(graph: Graph, weights: Weights, names: Mapping[str, str]) -> dict[str, Module]:
    """The module for each node with weights, by the node's name.

    By `names` (node -> module) where they say it, else by equal names if all are, else the first convolution gets the
    first one of the file, and so on for each kind. Raises `UserError` for another number of modules of a kind.
    """
    needed = {node.name: kind for node in graph.nodes if (kind := kind_of_node(node, weights.library))}
    known = {module.name: module for module in weights.modules}
    for node, module in names.items():
        if node not in needed:
            raise UserError(f"names: the network has no node {node!r} with weights; they are {', '.join(needed)}")
        if module not in known:
            raise UserError(f"names: the file has no module {module!r}; they are {', '.join(map(str, known))}")
    if not names and set(needed) == set(known):
        return known
    found = {node: known[module] for node, module in names.items()}
    used = {module.name for module in found.values()}
    for kind in dict.fromkeys([*needed.values(), *(module.kind for module in weights.modules)]):
        open_ = [node for node, each in needed.items() if each == kind and node not in found]
        left = [module for module in weights.modules if module.kind == kind and module.name not in used]
        if len(open_) != len(left):
            raise UserError(
                f"the file has {len(left)} modules of the kind {kind} ({_listed([each.name for each in left])}), the "
                f"network needs {len(open_)} ({_listed(open_)}): is it the same architecture?"
            )
        found |= dict(zip(open_, left, strict=True))
    return {node: found[node] for node in needed}


def converted(model: Model, weights: Weights, matched: Mapping[str, Module]) -> dict[str, NDArray[np.float32]]:
    """The state of `model` from the modules. Raises `UserError` for a tensor that is missing or of another shape."""
    orders = _orders(model.graph) if weights.channels_first else {}
    state, own = {}, model.state()
    for index, node in enumerate(model.graph.nodes):
        if node.name not in matched:
            continue
        module, order = matched[node.name], orders.get(node.inputs[0])
        tensors = _ours(node, module, weights.library)
        wanted = {key.removeprefix(f"{node.name}."): value.shape for key, value in own.items() if _of(key, node)}
        for key, shape in wanted.items():
            if key not in tensors:
                raise UserError(
                    f"{module.name} has no {key}, which {node.name} needs: give the layer no bias, or another"
                )
            if tensors[key].shape != shape:
                raise UserError(
                    f"{module.name}: {key} has shape {tensors[key].shape} in our layout, and {node.name} needs {shape}"
                )
            value = (
                tensors[key]
                if order is None or (key == "bias" and isinstance(node.layer, Dense))
                else tensors[key][order]
            )
            state[f"{node.name}.{key}"] = np.ascontiguousarray(value, np.float32)
        if extra := sorted(set(tensors) - set(wanted)):
            raise UserError(f"{module.name} has {extra[0]}, which {node.name} ({index}) does not have")
    return state


def _of(key: str, node: Node) -> bool:
    return key.startswith(f"{node.name}.")


def _ours(node: Node, module: Module, library: str) -> dict[str, NDArray[np.float32]]:
    """The tensors of a module in our layouts, without regard to the order of flattened images."""
    tensors = dict(module.tensors)
    layer: Layer = node.layer
    weight = tensors.get("weight")
    if library == "torch" and weight is not None:
        if isinstance(layer, Conv2D) and weight.ndim == 4:
            tensors["weight"] = weight.transpose(2, 3, 1, 0)
        elif isinstance(layer, Dense) and weight.ndim == 2:
            tensors["weight"] = weight.T
    if library == "keras" and isinstance(layer, DepthwiseConv2D) and weight is not None and weight.ndim == 4:
        tensors["weight"] = weight.reshape(*weight.shape[:2], 1, -1)
    if module.kind == "prelu" and tensors["slope"].size == 1:  # one slope for all channels
        tensors["slope"] = np.repeat(tensors["slope"].reshape(-1), node.shape[-1])
    if isinstance(layer, BatchNorm) and module.eps is not None:
        # With the same sum of variance and eps the norm is the same, whatever eps each library has.
        tensors["variance"] = tensors["variance"] + np.float32(module.eps - layer.eps)
        if (tensors["variance"] < 0).any():
            raise UserError(f"{module.name} has epsilon {module.eps}; give the batch norms of the model the same eps")
    if isinstance(layer, GroupNorm) and module.eps is not None and abs(module.eps - layer.eps) > 1e-9:
        raise UserError(f"{module.name} has epsilon {module.eps}, and {node.name} {layer.eps}: give the model the same")
    return tensors


def _orders(graph: Graph) -> dict[int, Order]:
    """For each node whose output is a flattened image, the order of its numbers where images are channels-first."""
    found: dict[int, Order] = {}
    for index, node in enumerate(graph.nodes):
        if isinstance(node.layer, Flatten) and len(node.input_shape) == 3:
            height, width, channels = node.input_shape
            order = np.arange(height * width * channels).reshape(channels, height, width).transpose(1, 2, 0)
            if height * width > 1:
                found[index] = order.reshape(-1)
        elif not isinstance(node.layer, Dense):
            orders = [found[given] for given in node.inputs if given != INPUT and given in found]
            if not orders:
                continue
            if isinstance(node.layer, Concat) or type(node.layer) is GroupNorm or len(orders) != len(node.inputs):
                raise UserError(
                    f"{node.name} joins a flattened image with other numbers: its order cannot be converted"
                )
            if any(not np.array_equal(each, orders[0]) for each in orders):
                raise UserError(
                    f"{node.name} joins images that were flattened otherwise: its order cannot be converted"
                )
            found[index] = orders[0]
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "none"
