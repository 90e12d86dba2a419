"""What a layer is: parameters, a forward, a backward, and a shape rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops

Shape = tuple[int, ...]  # of one example, without the batch: (h, w, c) or (c,)


@dataclass
class Parameter:
    """A trained tensor with its gradient, which every backward pass overwrites."""

    value: Array
    grad: Array
    l2: float = 0.0  # the loss gains l2 * sum(value ** 2)
    decay: bool = True  # whether the optimizer's weight decay applies: to weights, not to biases and norms


@dataclass
class BuildContext:
    """What layers need while they are built, and the step counter that dropout reads while training."""

    ops: Ops
    seed: int
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    init: str = "he_normal"
    step: int = 0  # of the training loop; the model sets it before each forward pass
    streams: int = 0

    def new_stream(self) -> int:
        """A number no other consumer of randomness in this model has."""
        self.streams += 1
        return self.streams

    def generator(self) -> np.random.Generator:
        """A generator of its own for one tensor's initial values."""
        key = np.array([self.seed & (2**64 - 1), self.new_stream()], np.uint64)  # a list may become float64
        return np.random.Generator(np.random.Philox(key=key))

    def parameter(self, value: NDArray[Any], *, l2: float = 0.0, decay: bool = True) -> Parameter:
        """`value` on the backend, in the model's dtype, with a gradient of zeros."""
        array = self.ops.array(value.astype(self.dtype))
        return Parameter(array, self.ops.zeros_like(array), l2, decay)


class Layer(ABC):
    """One node of a network. Its constructor takes what a config says; `build` makes the tensors.

    `forward` keeps what `backward` needs while training; `backward` frees it. Arrays carry the batch in front:
    (n, h, w, c) or (n, c).
    """

    # The first layer of a network spares itself the gradient that nobody reads.
    input_needs_gradient = True
    # Whether the layer can apply a ReLU that follows it in the same pass over memory, and whether it does.
    takes_relu = False
    relu = False
    # Whether the layer behind has already taken the gradient of that ReLU.
    relu_gradient_taken = False

    def __init__(self) -> None:
        self.name = ""  # in its model, such as conv2d_1
        self.kind = ""  # in a config, such as conv2d
        self.place = ""  # the entry of the config that it was built from
        self.params: dict[str, Parameter] = {}
        self.buffers: dict[str, Array] = {}  # tensors that training moves without a gradient: running statistics
        self.ops: Ops

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Make the parameters for inputs of `input_shape`. Layers that have any extend this."""
        self.ops = context.ops

    @property
    def takes_relu_gradient(self) -> bool:
        """Whether it is for this layer to take the gradient of the ReLU that it applied."""
        return self.relu and not self.relu_gradient_taken

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of one output example. Raises ValueError if the layer cannot take `input_shape`."""

    @abstractmethod
    def forward(self, x: Array, train: bool) -> Array:
        """The layer's output for a batch."""

    @abstractmethod
    def backward(self, dy: Array) -> Array:
        """The gradient of the input, for that of the output; parameter gradients land in `params`."""

    def macs(self, input_shape: Shape) -> int:
        """Multiply-accumulates of one example's forward pass; element-wise work counts as none."""
        return 0

    def leaves(self) -> list[Layer]:
        """The layer itself, or what a container holds, in order of execution."""
        return [self]


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


def positive(value: Any, name: str) -> int:
    """`value` as a whole number of at least one. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def within(value: Any, name: str, low: float, high: float) -> float:
    """`value` as a number in [low, high). Raises ValueError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value < high:
        raise ValueError(f"{name} must be a number from {low} to below {high}, not {value!r}")
    return float(value)


def flag(value: Any, name: str) -> bool:
    """`value` as true or false. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value
