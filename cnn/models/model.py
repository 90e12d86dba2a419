"""A network ready to run: layers, parameters, and the state that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.layers import BuildContext, Layer, Parameter, Shape
from cnn.models.containers import Sequential
from foundation.errors import UserError


class Model:
    """Maps images (n, h, w, c) to logits (n, classes)."""

    def __init__(self, name: str, root: Sequential, context: BuildContext, input_shape: Shape) -> None:
        self.name, self.root, self.context, self.input_shape = name, root, context, input_shape
        self.ops = context.ops
        leaves = root.leaves()
        self.parameters: dict[str, Parameter] = _named(leaves, "params")
        self.buffers: dict[str, Array] = _named(leaves, "buffers")

    def forward(self, x: Array, train: bool, step: int = 0) -> Array:
        """Logits (n, classes). In training, `step` numbers the batch, so that dropout draws anew for each."""
        self.context.step = step
        return self.root.forward(x, train)

    def backward(self, dlogits: Array) -> None:
        """Fill every parameter's gradient, those of the L2 penalties included."""
        self.root.backward(dlogits)
        for parameter in self.parameters.values():
            if parameter.l2:
                self.ops.l2_penalty_backward(parameter.value, parameter.l2, parameter.grad)

    def penalty(self) -> Array | float:
        """The sum of all L2 penalties, a scalar array; 0.0 for a model without any."""
        terms = [self.ops.l2_penalty(p.value, p.l2) for p in self.parameters.values() if p.l2]
        return sum(terms[1:], terms[0]) if terms else 0.0

    @property
    def trainable_count(self) -> int:
        """How many numbers training adjusts by gradient."""
        return sum(parameter.value.size for parameter in self.parameters.values())

    @property
    def parameter_count(self) -> int:
        """How many numbers the model holds, running statistics included (as Keras counts)."""
        return self.trainable_count + sum(buffer.size for buffer in self.buffers.values())

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all parameters and buffers on the host, by name."""
        tensors = {name: parameter.value for name, parameter in self.parameters.items()} | self.buffers
        return {name: np.array(self.ops.to_numpy(tensor)) for name, tensor in tensors.items()}

    def load_state(self, state: Mapping[str, NDArray[Any]], origin: str) -> None:
        """Take over a state. Raises `UserError` naming `origin` and the misfit; then nothing has changed."""
        own = self.state()
        if missing := sorted(set(own) ^ set(state)):
            raise UserError(f"{origin} is not of model '{self.name}': tensor {missing[0]} is in only one of the two")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise UserError(f"{origin}: {name} has shape {state[name].shape}, the model needs {tensor.shape}")
        for name, parameter in self.parameters.items():
            parameter.value = self.ops.array(state[name].astype(own[name].dtype))
        for leaf in self.root.leaves():
            for key in leaf.buffers:
                name = f"{leaf.name}.{key}"
                leaf.buffers[key] = self.buffers[name] = self.ops.array(state[name].astype(own[name].dtype))


def _named(leaves: list[Layer], attribute: str) -> dict[str, Any]:
    return {f"{leaf.name}.{key}": tensor for leaf in leaves for key, tensor in getattr(leaf, attribute).items()}
