"""Activations by name, and their gradients."""

from __future__ import annotations

from cnn.backends import Activation, Array
from cnn.backends.blocks import GRADIENT_NEEDS
from cnn.ops.dispatch import read

# The default constants a and b of activations that have any.
_NUMBERS = {
    "clip": (0.0, 6.0),
    "leaky_relu": (0.01, 0.0),
    "elu": (1.0, 0.0),
    "selu": (1.6732632423543772, 1.0507009873554805),
}


def activation(x: Array, name: str, a: float | None = None, b: float | None = None) -> Array:
    """The activation `name` of every element of x, of any shape.

    `name` is relu, clip (from a to b, by default from 0 to 6), sigmoid, tanh, leaky_relu (a is the slope, 0.01), elu (a
    is alpha, 1), selu, gelu, silu, mish, softplus or hard_swish; `cnn.backends.Activation` has formulas and papers.
    """
    function = _function(name, a, b)
    given = read(x=(x, "..."))
    (x,) = given.arrays
    return given.ops.activation(x, function)


def activation_backward(dy: Array, x: Array, name: str, a: float | None = None, b: float | None = None) -> Array:
    """dx for dy, where x was the input of `activation`; all are of one shape.

    If the derivative is 0 the result is 0, also for an infinite dy.
    """
    function = _function(name, a, b)
    given = read(dy=(dy, "..."), x=(x, "..."))
    dy, x = given.arrays
    if dy.shape != x.shape:
        raise ValueError(f"dy has shape {dy.shape}, but x {x.shape}")
    saved = given.ops.activation(x, function) if function.needs == "output" else x
    return given.ops.activation_backward(dy, saved, function)


def _function(name: str, a: float | None, b: float | None) -> Activation:
    if name not in GRADIENT_NEEDS:
        raise ValueError(f"there is no activation {name!r}; choose one of: {', '.join(GRADIENT_NEEDS)}")
    usual = _NUMBERS.get(name, (0.0, 0.0))
    return Activation(name, *(own if given is None else float(given) for given, own in zip((a, b), usual, strict=True)))
