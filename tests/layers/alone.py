"""A layer by itself, with tensors of its own and outside of any network."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnn.backends import Ops, RandomKey
from cnn.layers import JOINS, LAYERS, Join, Layer, Pass


def layer_of(kind: str, arguments: dict[str, Any]) -> Layer:
    """A layer or a join by the name that a config gives it."""
    return {**LAYERS, **JOINS}[kind](**arguments)


class Alone:
    """A layer with random tensors. `shape` is a shape of one example, or for a join a tuple of shapes."""

    def __init__(self, ops: Ops, layer: Layer, shape: Any, dtype: str = "float64", seed: int = 2) -> None:
        self.ops, self.layer, self.shape, self.dtype = ops, layer, shape, np.dtype(dtype)
        rng = np.random.default_rng(seed)
        self.params = {
            name: ops.array(rng.normal(size=spec.shape).astype(dtype)) for name, spec in layer.parameters(shape).items()
        }
        trained = [name for name, spec in layer.parameters(shape).items() if spec.trained]
        self.grads = {name: ops.array(np.full(self.params[name].shape, np.nan, dtype)) for name in trained}
        for name, buffer in layer.buffers(shape).items():
            self.params[name] = ops.array(buffer.initial.astype(dtype))

    def input(self, rng: np.random.Generator, count: int) -> Any:
        """A random batch; for a join one for each input."""
        if isinstance(self.layer, Join):
            return tuple(rng.normal(size=(count, *shape)).astype(self.dtype) for shape in self.shape)
        return rng.normal(size=(count, *self.shape)).astype(self.dtype)

    def context(self, train: bool, step: int) -> Pass:
        """What the executor would tell the layer."""
        return Pass(self.ops, train, self.shape, RandomKey(5, 3, np.array([step])))

    def forward(self, x: Any, train: bool, step: int = 1) -> tuple[np.ndarray, Any]:
        """The output, and what `backward` needs."""
        return self.layer.forward(self.params, x, self.context(train, step))

    def backward(self, saved: Any, dy: np.ndarray, step: int = 1) -> Any:
        """The gradient of the input; `grads` are filled."""
        return self.layer.backward(self.params, saved, dy, self.grads, self.context(True, step))
