"""The computations of a block around its product, as data: activations, epilogues, and the stages of a tail.

A block is a producer (a convolution, a dense layer, or none) with an `Epilogue`, and a tail: everything pointwise that
follows, stage by stage, up to the next operation that must see the whole batch. The backends read these values; they
know no layer. Arrays in them are the backend's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cnn.backends.philox import RandomKey
from cnn.backends.window import Window

Array = Any  # numpy.ndarray or cupy.ndarray: the two share no base class

# The value from which the gradient of each activation is computed: the function's output y or its input x.
GRADIENT_NEEDS: Mapping[str, Literal["output", "input"]] = {
    "relu": "output",
    "clip": "output",
    "sigmoid": "output",
    "tanh": "output",
    "leaky_relu": "input",
    "elu": "input",
    "selu": "input",
    "gelu": "input",
    "silu": "input",
    "mish": "input",
    "softplus": "input",
    "hard_swish": "input",
}


@dataclass(frozen=True)
class Activation:
    """An element-wise function without trained parameters; `a` and `b` are its constants, if it has any.

    `relu` max(x, 0); `clip` min(max(x, a), b), so ReLU6 is clip from 0 to 6; `sigmoid`; `tanh`;
    `leaky_relu` x where x > 0, else a * x; `elu` x where x > 0, else a * (exp(x) - 1) (Clevert et al. 2015);
    `selu` b * elu (Klambauer et al. 2017); `gelu` x * Phi(x), exact (Hendrycks & Gimpel 2016);
    `silu` x * sigmoid(x) (Elfwing et al. 2017); `mish` x * tanh(softplus(x)) (Misra 2019); `softplus` log(1 + exp(x));
    `hard_swish` x * min(max(x + 3, 0), 6) / 6 (Howard et al. 2019).
    """

    name: str
    a: float = 0.0
    b: float = 0.0

    @property
    def needs(self) -> Literal["output", "input"]:
        """The second argument of `activation_backward`: the function's output or its input."""
        return GRADIENT_NEEDS[self.name]


@dataclass(frozen=True)
class Epilogue:
    """The operations after a product and its bias, in the same pass over its result: an activation, then statistics."""

    activation: Activation | None = None
    moments: Array | None = None  # (2, k), filled with mean and biased variance per channel of what the product returns


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / sqrt(variance + eps) * gamma + beta, per channel (Ioffe & Szegedy 2015)."""

    gamma: Array  # (c,)
    beta: Array  # (c,)
    moments: Array  # (2, c): mean, variance
    eps: float
    batch: bool  # the moments are those of this very batch, so the gradient flows through them
    gradients: tuple[Array, Array] | None = None  # filled with dgamma, dbeta in the backward pass
    running: tuple[Array, float] | None = None  # running moments and their momentum, updated in the forward pass


@dataclass(frozen=True)
class PReLU:
    """`x` where x > 0, else slope * x, with a slope for each channel that is trained (He et al. 2015)."""

    slope: Array  # (c,)
    gradient: Array | None = None  # filled with dslope in the backward pass


@dataclass(frozen=True)
class Join:
    """x + other or x * other. For "multiply" `other` may be (n, c) beside x (n, h, w, c): a gate for each channel."""

    kind: Literal["add", "multiply"]
    other: Array


@dataclass(frozen=True)
class Pool:
    """Max or average pooling."""

    kind: Literal["max", "average"]
    window: Window
    count_padding: bool = False  # average: whether padding counts in the divisor


@dataclass(frozen=True)
class Dropout:
    """Inverted dropout (Srivastava et al. 2014); the mask is a function of the key and is never stored."""

    rate: float
    key: RandomKey


@dataclass(frozen=True)
class DropPath:
    """Stochastic depth (Huang et al. 2016): dropout of whole examples; what is dropped follows from the key."""

    rate: float
    key: RandomKey


Stage = Normalize | Activation | PReLU | Join | Pool | Dropout | DropPath


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of a batch: mirroring, rotation, zoom, shift, crops, tones, and erased rectangles."""

    seed: int
    flip: bool = False  # mirror left to right, with probability one half
    shift: float = 0.0  # largest shift, as a fraction of the image's side
    rotate: float = 0.0  # largest rotation either way, in degrees
    zoom: float = 0.0  # sizes from 1 - zoom to 1 + zoom
    erase: float = 0.0  # probability that a rectangle is erased
    erase_area: tuple[float, float] = (0.02, 0.33)  # least and largest fraction of the image that it covers
    crop: float = 1.0  # least area of a random crop, as a fraction of the image's; 1 for none
    brightness: float = 0.0  # largest shift of the network's input
    contrast: float = 0.0  # the network's input is multiplied by 1 - contrast to 1 + contrast

    @property
    def warps(self) -> bool:
        """Whether it does more than mirror and shift by integer pixels."""
        return bool(self.rotate or self.zoom or self.erase)

    @property
    def tones(self) -> bool:
        """Whether it changes brightness or contrast."""
        return bool(self.brightness or self.contrast)
