"""What a layer is: hyperparameters, the shapes of its tensors, a forward and a backward pass that keep nothing."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Epilogue, Ops, RandomKey, Stage

Shape = tuple[int, ...]  # of one example, without the batch: (h, w, c) or (c,)
Tensors = Mapping[str, Array]  # a node's parameters and buffers by name, or the places for its gradients
NO_EPILOGUE = Epilogue()


@dataclass(frozen=True)
class Parameter:
    """A tensor that training adjusts by gradient."""

    shape: tuple[int, ...]
    initial: Callable[[np.random.Generator], NDArray[Any]] | float  # a draw, or the value of every element
    l2: float = 0.0  # the loss gains l2 * sum(value ** 2)
    decay: bool = True  # whether the optimizer's weight decay applies: to weights, not to biases and norms


@dataclass(frozen=True)
class Buffer:
    """A tensor that training moves without a gradient, such as running statistics."""

    initial: NDArray[Any]
    parts: tuple[str, ...]  # the names of its rows in a checkpoint


@dataclass(frozen=True)
class Pass:
    """What a layer is told about the pass that it takes part in."""

    ops: Ops
    train: bool
    shape: Any = ()  # of the node's input, of one example
    key: RandomKey | None = None  # of this node's random numbers, in training
    moments: Array | None = None  # (2, c) of the batch, for a batch norm whose producer filled them
    input_gradient: bool = True  # whether anybody reads the gradient of the input


class Layer(ABC):
    """One node of a network. A layer holds hyperparameters alone: the same object may stand in many places, and each
    has parameters of its own there.

    `forward` and `backward` get the node's tensors, and return what they make; nothing stays on the layer. Arrays
    carry the batch in front: (n, h, w, c) or (n, c). A join takes a tuple of arrays, and of shapes, where other layers
    take one.
    """

    @abstractmethod
    def output_shape(self, input_shape: Any) -> Shape:
        """The shape of one output example. Raises ValueError if the layer cannot take `input_shape`."""

    def parameters(self, input_shape: Any, init: str = "he_normal") -> dict[str, Parameter]:
        """What the layer trains, by name, for inputs of `input_shape`; `init` is the model's initializer."""
        return {}

    def buffers(self, input_shape: Any) -> dict[str, Buffer]:
        """What training moves without a gradient, by name."""
        return {}

    @abstractmethod
    def forward(self, params: Tensors, x: Any, ctx: Pass) -> tuple[Array, Any]:
        """The layer's output for a batch, and what `backward` needs of this pass."""

    @abstractmethod
    def backward(self, params: Tensors, saved: Any, dy: Array, grads: Tensors, ctx: Pass) -> Any:
        """The gradient of the input (of each input, for a join), for that of the output.

        `grads` holds an array for each parameter, which is filled with its gradient.
        """

    def macs(self, input_shape: Any) -> int:
        """Multiply-accumulates of one example's forward pass; element-wise work counts as none."""
        return 0

    def for_classes(self, classes: int) -> Layer:
        """The layer for a dataset of so many classes; itself, unless it says "classes" somewhere."""
        return self

    def arguments(self) -> dict[str, Any]:
        """What the layer was made with, by the constructor's names; what is as by default is left out.

        A layer keeps each argument under its name. Raises AttributeError for one that does not.
        """
        parameters = inspect.signature(type(self)).parameters.values()
        values = {parameter.name: (getattr(self, parameter.name), parameter.default) for parameter in parameters}
        return {name: value for name, (value, default) in values.items() if value != default}

    def __repr__(self) -> str:
        """The class with the arguments that it was made with; what is as by default is left out."""
        try:
            arguments = self.arguments()
        except AttributeError:
            arguments = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


class Producer(Layer):
    """A product with weights, behind which an activation and statistics cost no further pass over memory."""

    @abstractmethod
    def forward(self, params: Tensors, x: Array, ctx: Pass, epilogue: Epilogue = NO_EPILOGUE) -> tuple[Array, Any]:
        """As `Layer.forward`, with what follows the product in the same pass.

        `backward` then takes the gradient of the product's own result: the activation is the caller's.
        """


class Pointwise(Layer):
    """A layer that takes each element, or each small window, on its own: a stage in the tail of a block.

    A subclass gives its stage; forward and backward follow from it.
    """

    random = False  # whether it draws random numbers in training

    def output_shape(self, input_shape: Shape) -> Shape:
        """Unchanged."""
        return input_shape

    @abstractmethod
    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Stage | None:
        """What the layer does in this pass, as data; None for nothing. `grads` is empty in the forward pass."""

    def forward(self, params: Tensors, x: Array, ctx: Pass) -> tuple[Array, Any]:
        """Run the stage alone."""
        stage = self.stage(params, {}, ctx)
        return (x, None) if stage is None else ctx.ops.tail(x, (stage,), keep=ctx.train)

    def backward(self, params: Tensors, saved: Any, dy: Array, grads: Tensors, ctx: Pass) -> Array:
        """The stage's gradient."""
        stage = self.stage(params, grads, ctx)
        return dy if stage is None else ctx.ops.tail_backward(dy, (stage,), saved)[0]


@dataclass
class Streams:
    """Numbers the consumers of randomness in a model, so that each draws numbers of its own."""

    seed: int
    used: int = field(default=0)

    def next(self) -> int:
        """A number that no other consumer of randomness in this model has."""
        self.used += 1
        return self.used

    def generator(self) -> np.random.Generator:
        """A generator of its own for one tensor's initial values."""
        key = np.array([self.seed & (2**64 - 1), self.next()], np.uint64)  # a list may become float64
        return np.random.Generator(np.random.Philox(key=key))


def image_shape(input_shape: Shape) -> tuple[int, int, int]:
    """`input_shape` as (h, w, c). Raises ValueError for anything but an image."""
    if len(input_shape) != 3:
        raise ValueError(f"it needs an image (h, w, c), but a vector of shape {input_shape} reaches it")
    return input_shape[0], input_shape[1], input_shape[2]


def vector_length(input_shape: Shape) -> int:
    """The length of a vector input. Raises ValueError for an image."""
    if len(input_shape) != 1:
        raise ValueError(
            f"it needs a vector, but an image of shape {input_shape} reaches it: put flatten or "
            "global_avg_pool2d before it"
        )
    return input_shape[0]


def require_int(value: Any, name: str) -> int:
    """`value` as a whole number of at least one. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def require_float(value: Any, name: str, low: float, high: float) -> float:
    """`value` as a number in [low, high). Raises ValueError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value < high:
        raise ValueError(f"{name} must be a number from {low} to below {high}, not {value!r}")
    return float(value)


def require_bool(value: Any, name: str) -> bool:
    """`value` as true or false. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value
