"""The layer classes: hyperparameters, the shapes of tensors, and forward and backward passes without state."""

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
Tensors = Mapping[str, Array]  # a node's parameters and buffers by name, or the arrays for its gradients
NO_EPILOGUE = Epilogue()


@dataclass(frozen=True)
class Parameter:
    """A tensor that training adjusts by gradient."""

    shape: tuple[int, ...]
    initial: Callable[[np.random.Generator], NDArray[Any]] | float  # a draw, or the value of every element
    l2: float = 0.0  # the loss gains l2 * sum(value ** 2)
    decay: bool = True  # whether the optimizer's weight decay applies: to weights, not to biases and norms
    trained: bool = True  # False: it comes from `Layer.from_images`, has no gradient, and no update changes it
    product: bool = False  # whether products read it: if activations are bfloat16, the layer gets its rounded copy


@dataclass(frozen=True)
class Buffer:
    """A tensor that training updates without a gradient, such as running statistics."""

    initial: NDArray[Any]
    parts: tuple[str, ...]  # the names of its rows in a checkpoint


@dataclass(frozen=True)
class Pass:
    """The data of a pass for one layer."""

    ops: Ops
    train: bool
    shape: Any = ()  # of the node's input, of one example
    key: RandomKey | None = None  # of this node's random numbers, in training
    moments: Array | None = None  # (2, c) of the batch, for a batch norm whose producer filled them
    input_gradient: bool = True  # whether the gradient of the input is needed
    summand: Array | None = None  # to be added to the gradient of the input
    keep: bool = False  # in inference: a backward pass follows, with the running statistics as constants

    @property
    def keeps(self) -> bool:
        """Whether the forward pass returns the values that the backward pass needs."""
        return self.train or self.keep


class Layer(ABC):
    """One layer of a network. A layer has only hyperparameters: the same object may be used at several nodes, each of
    which has its own parameters.

    `forward` and `backward` get the node's tensors and return new arrays; the layer keeps no state. The first axis of
    arrays is the batch: (n, h, w, c) or (n, c). A join takes a tuple of arrays, and of shapes, where other layers take
    one.
    """

    sees_images = False  # whether `from_images` gives it tensors; it is then at the network's input

    @abstractmethod
    def output_shape(self, input_shape: Any) -> Shape:
        """The shape of one output example. Raises ValueError if the layer cannot take `input_shape`."""

    def parameters(self, input_shape: Any, init: str = "he_normal") -> dict[str, Parameter]:
        """The trained tensors by name, for inputs of `input_shape`; `init` is the model's initializer."""
        return {}

    def buffers(self, input_shape: Any) -> dict[str, Buffer]:
        """The tensors that training updates without a gradient, by name."""
        return {}

    @abstractmethod
    def forward(self, params: Tensors, x: Any, ctx: Pass) -> tuple[Array, Any]:
        """The layer's output for a batch, and the values that `backward` needs."""

    @abstractmethod
    def backward(self, params: Tensors, saved: Any, dy: Array, grads: Tensors, ctx: Pass) -> Any:
        """The gradient of the input (of each input, for a join), given that of the output.

        `grads` has an array for each parameter, which is filled with its gradient.
        """

    def from_images(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """The tensors that are not trained, computed from training images (n, h, w, c) as the network gets them."""
        return {}

    def macs(self, input_shape: Any) -> int:
        """Multiply-accumulates of one example's forward pass; element-wise work counts as none."""
        return 0

    def for_classes(self, classes: int) -> Layer:
        """The layer for a dataset of that many classes; itself, unless an argument is "classes"."""
        return self

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments by name; defaults are left out.

        A layer keeps each argument as an attribute of that name. Raises AttributeError if it does not.
        """
        parameters = inspect.signature(type(self)).parameters.values()
        values = {parameter.name: (getattr(self, parameter.name), parameter.default) for parameter in parameters}
        return {name: value for name, (value, default) in values.items() if value != default}

    def __repr__(self) -> str:
        """The class with the constructor's arguments; defaults are left out."""
        try:
            arguments = self.arguments()
        except AttributeError:
            arguments = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


class Producer(Layer):
    """A product with weights, whose epilogue computes an activation and statistics without another memory pass."""

    @abstractmethod
    def forward(self, params: Tensors, x: Array, ctx: Pass, epilogue: Epilogue = NO_EPILOGUE) -> tuple[Array, Any]:
        """As `Layer.forward`, with an epilogue in the same pass.

        `backward` then takes the gradient of the product before the activation, which the caller computes.
        """


class Pointwise(Layer):
    """A layer that computes each element, or each small window, separately: a stage in the tail of a block.

    A subclass defines its stage; forward and backward run the stage.
    """

    random = False  # whether it draws random numbers in training

    def output_shape(self, input_shape: Shape) -> Shape:
        """Unchanged."""
        return input_shape

    @abstractmethod
    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Stage | None:
        """The computation of the layer in this pass, as data; None for the identity. `grads` is empty in forward."""

    def forward(self, params: Tensors, x: Array, ctx: Pass) -> tuple[Array, Any]:
        """Run the stage."""
        stage = self.stage(params, {}, ctx)
        return (x, None) if stage is None else ctx.ops.tail(x, (stage,), keep=ctx.keeps)

    def backward(self, params: Tensors, saved: Any, dy: Array, grads: Tensors, ctx: Pass) -> Array:
        """The stage's gradient."""
        stage = self.stage(params, grads, ctx)
        return dy if stage is None else ctx.ops.tail_backward(dy, (stage,), saved)[0]


@dataclass
class Streams:
    """Numbers the consumers of random numbers in a model, so that each has its own stream."""

    seed: int
    used: int = field(default=0)

    def next(self) -> int:
        """The number of a stream that no other consumer in this model has."""
        self.used += 1
        return self.used

    def generator(self) -> np.random.Generator:
        """A separate generator for the initial values of one tensor."""
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
