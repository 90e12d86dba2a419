"""A trained network as data: what every export writes, and the output with which it is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Ops
from cnn.layers import JOINS, LAYERS
from cnn.models import InferenceModel, Model, build_model
from cnn.models.graph import Graph, Node
from cnn.training.pixel_scaling import PixelScaling
from foundation.errors import UserError

WEIGHTS = ("float32", "float16", "bfloat16")  # types in which weights are stored
_KNOWN = {*LAYERS.values(), *JOINS.values()}


@dataclass(frozen=True)
class Portable:
    """A network, its weights on the host, and the meaning of its input and output.

    The input is pixels as they are stored, (n, h, w, c), or rows of features (n, c); an export scales them itself.
    """

    config: Mapping[str, Any]  # as `build_model` takes it
    shape: tuple[int, ...]  # of one example: (h, w, c), or (c,) of vectors
    classes: tuple[str, ...]
    scaling: PixelScaling
    tensors: Mapping[str, NDArray[np.float32]]  # by the names of a checkpoint, such as conv2d_1.weight
    ops: Ops  # computes the output with which an export is compared
    weights: str = "float32"  # the type of numbers to which the tensors are rounded
    exact: Portable | None = None  # the network before its weights were rounded
    about: Mapping[str, Any] = field(default_factory=dict)  # what is known of its training, for the model card

    @property
    def name(self) -> str:
        """The network's name in its config."""
        return str(self.config.get("name", "network"))

    @property
    def pixel_type(self) -> str:
        """The type of the input: uint8, or float64 of a network that was trained on floating-point numbers."""
        return "uint8" if self.scaling.of_bytes else "float64"

    @property
    def input_name(self) -> str:
        """What the input is called."""
        return "images" if len(self.shape) == 3 else "features"

    @cached_property
    def model(self) -> Model:
        """The model in float32. Raises `UserError` for weights that do not fit."""
        model = build_model(self.config, self.ops, self.shape, len(self.classes), 0)
        model.load_state(self.tensors, "the network")
        return model

    @property
    def graph(self) -> Graph:
        """The nodes in the order of computation."""
        return self.model.graph

    def of_node(self, node: Node) -> dict[str, NDArray[np.float32]]:
        """The tensors of one node, by their own names."""
        prefix = f"{node.name}."
        return {key.removeprefix(prefix): np.asarray(t) for key, t in self.tensors.items() if key.startswith(prefix)}

    def rounded(self, weights: str) -> Portable:
        """The same network with its tensors rounded to the type `weights`, and kept in float32.

        Raises `UserError` for an unknown type, and for numbers too large for it.
        """
        if weights not in WEIGHTS:
            raise UserError(f"weights is {weights!r}; choose one of: {', '.join(WEIGHTS)}")
        if weights == "float32":
            return self
        tensors = {name: round_to(tensor, weights) for name, tensor in self.tensors.items()}
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all():
                raise UserError(f"weights={weights}: {name} has numbers too large for it; choose float32 or bfloat16")
        return replace(self, tensors=tensors, weights=weights, exact=self)

    def logits(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Our own output for stored pixels (n, h, w, c) or rows of features (n, c): logits (n, classes)."""
        scaled = self.scaling.apply(inputs)
        return np.concatenate([self._logits(scaled[at : at + 32]) for at in range(0, len(scaled), 32)])

    @cached_property
    def _inference(self) -> InferenceModel:
        return InferenceModel(self.model)

    def _logits(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(self.ops.to_numpy(self._inference.forward(self.ops.array(scaled))), np.float32)

    def check_known(self, target: str) -> None:
        """Raise `UserError` for a layer of the user's own, which no other library has."""
        for node in self.graph.nodes:
            if type(node.layer) not in _KNOWN:
                raise UserError(f"{node.place}: {type(node.layer).__name__} is a layer of your own, not in {target}")


def round_to(tensor: NDArray[Any], weights: str) -> NDArray[np.float32]:
    """`tensor` in float32, rounded to the nearest number of the type `weights`, ties to even."""
    exact = np.ascontiguousarray(tensor, np.float32)
    if weights == "float16":
        with np.errstate(over="ignore"):
            return exact.astype(np.float16).astype(np.float32)
    if weights == "bfloat16":
        return from_bfloat16(to_bfloat16(exact))
    return exact


def to_bfloat16(tensor: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of finite float32 numbers in bfloat16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(tensor, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 numbers of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
