"""The gradient of a class score with respect to the output of any node, in inference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.layers import Pass
from cnn.models import Model
from cnn.models.graph import INPUT


class ScoreGradient(NamedTuple):
    """Of a batch: what the node returned, and how the score of each example's class changes with it."""

    logits: Array  # (n, classes)
    output: Array  # of the node: (n, h, w, c) or (n, c)
    gradient: Array  # of logits[i, classes[i]] with respect to output[i], of the same shape


def score_gradient(model: Model, x: Array, classes: NDArray[np.int64], node: str) -> ScoreGradient:
    """The gradient of each example's logit of class `classes` (n,) int with respect to the output of the node `node`.

    x (n, h, w, c) or (n, c) is the network's input as `model.forward` takes it. The network computes as in inference:
    batch norms use the running statistics, which are constants of the gradient, and nothing is dropped. Nodes run one
    by one in float32, without fusion, and only those behind `node` run backward. Raises KeyError for an unknown node.
    """
    ops, nodes = model.ops, model.graph.nodes
    target = model.graph.index(node)
    behind = {target}  # the nodes whose output depends on the target
    values, saved = {INPUT: x}, {}
    for index, each in enumerate(nodes):
        depends = index != target and any(given in behind for given in each.inputs)
        inputs = tuple(values[given] for given in each.inputs)
        ctx = Pass(ops, False, each.input_shape, keep=depends)
        y, kept = each.layer.forward(model.tensors[index], inputs if len(inputs) > 1 else inputs[0], ctx)
        values[index] = y
        if depends:
            behind.add(index)
            saved[index] = kept
    last = len(nodes) - 1
    logits = values[last]
    chosen = np.zeros(logits.shape, model.dtype)
    chosen[np.arange(len(chosen)), classes] = 1
    given = {last: ops.array(chosen)}
    for index in sorted(saved, reverse=True):
        if index not in given:  # nothing that the score reads
            continue
        each, dy = nodes[index], given.pop(index)
        # Layers write the gradients of their parameters, too; nobody reads these.
        unread = {name: ops.empty(tensor.shape, tensor.dtype) for name, tensor in model.tensors[index].items()}
        ctx = Pass(ops, False, each.input_shape, keep=True)
        dx = each.layer.backward(model.tensors[index], saved.pop(index), dy, unread, ctx)
        for source, gradient in zip(each.inputs, dx if len(each.inputs) > 1 else (dx,), strict=True):
            if source in behind:
                given[source] = ops.add(given[source], gradient) if source in given else gradient
    ops.join()
    return ScoreGradient(logits, values[target], given.get(target, ops.zeros(values[target].shape, model.dtype)))
