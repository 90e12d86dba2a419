"""A trained network for inference only: batch norms are folded into weights, and nothing is saved for backward."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cnn.backends import Array, Ops
from cnn.layers import BatchNorm
from cnn.models.execute import Executor
from cnn.models.model import Model
from cnn.models.plan import Block, Plan, make_plan


class InferenceModel:
    """Maps images (n, h, w, c) to logits (n, classes) as `model.forward(images, train=False)` does at its creation.

    A batch norm directly after a convolution or a dense layer is multiplied into its weights (Jacob et al. 2018,
    section 3.2), and one before a dense layer into the weights of that. Weights are copies, which later training does
    not change, and the backend may cache values derived from them, such as a filter's Winograd transform. Folding is
    computed by the backend, without transfers to the host.
    """

    def __init__(self, model: Model) -> None:
        self.ops = model.ops
        plan = make_plan(model.graph, train=False, fold=True)
        params = _params(model, plan)
        self._executor = Executor(self.ops, plan, params, [{}] * len(params), storage=model.storage)

    def refresh(self, model: Model) -> None:
        """Take the weights of `model`, with the same layers, in place: a recorded forward pass then replays with them.

        Only for backends that replay: others may have cached values derived from the old weights.
        """
        held = self._executor.params
        for own, fresh in zip(held, _params(model, self._executor.plan), strict=True):
            for name, tensor in fresh.items():
                self.ops.overwrite(own[name], tensor)

    def forward(self, x: Array) -> Array:
        """Logits (n, classes)."""
        return self._executor.forward(x)[0]


def _params(model: Model, plan: Plan) -> list[dict[str, Array]]:
    """Copies of the tensors of every node, with folded batch norms; weights of products in the model's storage."""
    ops = model.ops
    params: list[dict[str, Array]] = [{} for _ in model.graph.nodes]
    for block in plan.blocks:
        for index in (*block.tail, *(each for each in (block.producer, block.alone) if each is not None)):
            params[index] = {name: ops.array(tensor) for name, tensor in model.tensors[index].items()}
        storage = "float32" if block is plan.blocks[-1] else model.storage
        if block.alone is not None and storage != "float32":
            params[block.alone] |= {key: ops.array(w) for key, w in model.rounded_weights(block.alone).items()}
        if block.producer is not None:
            params[block.producer] = _weights(model, block, storage)
    return params


def _weights(model: Model, block: Block, storage: str) -> dict[str, Array]:
    """The producer's tensors as constants, with the batch norms that are folded into them; weights in `storage`."""
    ops, own = model.ops, dict(model.tensors[block.producer])  # type: ignore[index]
    if block.ahead is not None:
        own = _folded_ahead(ops, own, *_map_of(model, block.ahead))
    if block.fold is not None:
        own = _folded(ops, own, *_map_of(model, block.fold))
    for name in model.rounded_weights(block.producer):  # type: ignore[arg-type]
        own[name] = ops.stored(own[name], storage)
    return {name: ops.constant(tensor) for name, tensor in own.items()}


def _map_of(model: Model, index: int) -> tuple[Mapping[str, Array], float, Array]:
    """A batch norm's tensors, its eps, and the scale (1, c) of its affine map: gamma / sqrt(variance + eps).

    The scale is computed as the gradient of the map.
    """
    norm, tensors, ops = model.graph.nodes[index].layer, model.tensors[index], model.ops
    assert isinstance(norm, BatchNorm)
    gamma, moments = tensors["gamma"], tensors["moments"]
    ones = ops.array(np.ones((1, gamma.size), gamma.dtype))
    return tensors, norm.eps, ops.normalize_backward(ones, ones, gamma, moments, norm.eps, batch=False)[0]


def _folded(
    ops: Ops, own: Mapping[str, Array], norm: Mapping[str, Array], eps: float, scale: Array
) -> dict[str, Array]:
    """weight * scale, and (bias - mean) * scale + beta, which is the norm of the bias."""
    weight = own["weight"]
    bias = own["bias"].reshape(scale.shape) if "bias" in own else ops.zeros(scale.shape, weight.dtype)
    scaled = ops.multiply(weight.reshape(1, 1, -1, scale.size), scale).reshape(weight.shape)
    return {
        "weight": scaled,
        "bias": ops.normalize(bias, norm["gamma"], norm["beta"], norm["moments"], eps).reshape(-1),
    }


def _folded_ahead(
    ops: Ops, own: Mapping[str, Array], norm: Mapping[str, Array], eps: float, scale: Array
) -> dict[str, Array]:
    """scale * weight, row by row, and the output of the dense layer for the norm of 0."""
    weight = own["weight"]
    columns = ops.array(np.ones((1, weight.shape[1]), weight.dtype))
    nothing = ops.zeros(scale.shape, weight.dtype)
    shift = ops.normalize(nothing, norm["gamma"], norm["beta"], norm["moments"], eps)
    return {
        "weight": ops.multiply(weight, ops.dense(scale.reshape(-1, 1), columns, None)),
        "bias": ops.dense(shift, weight, own.get("bias")).reshape(-1),
    }
