"""Activations: one table of functions and derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import erf, expit

from cnn.backends.blocks import Activation, Array
from cnn.backends.reference.arrays import FloatArray, column_sum, into, rows_of

_SQRT_HALF = math.sqrt(0.5)
_DENSITY = 1 / math.sqrt(2 * math.pi)


class _Rule(NamedTuple):
    """y = function(x, a, b), and dy/dx = derivative(s, a, b), where s is y or x, see `GRADIENT_NEEDS`."""

    function: Callable[[FloatArray, float, float], FloatArray]
    derivative: Callable[[FloatArray, float, float], FloatArray]


def _gelu_slope(x: FloatArray) -> FloatArray:
    return _normal_cdf(x) + x * _DENSITY * np.exp(-0.5 * np.minimum(np.abs(x), 40) ** 2)  # beyond 40 exp is 0


def _softplus(x: FloatArray) -> FloatArray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _mish_slope(x: FloatArray) -> FloatArray:
    t = np.tanh(_softplus(x))
    return t + x * (1 - t * t) * expit(x)


def _normal_cdf(x: FloatArray) -> FloatArray:
    return 0.5 * (1 + erf(x * _SQRT_HALF))


def _elu(x: FloatArray, alpha: float) -> FloatArray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_slope(x: FloatArray, alpha: float) -> FloatArray:
    return np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))


def _silu_slope(x: FloatArray) -> FloatArray:
    s = expit(x)
    return s * (1 + x * (1 - s))


def _hard_swish_slope(x: FloatArray) -> FloatArray:
    return np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6))


RULES: Mapping[str, _Rule] = {
    "relu": _Rule(lambda x, a, b: np.maximum(x, 0), lambda y, a, b: y > 0),
    "clip": _Rule(np.clip, lambda y, a, b: (y > a) & (y < b)),
    "sigmoid": _Rule(lambda x, a, b: expit(x), lambda y, a, b: y * (1 - y)),
    "tanh": _Rule(lambda x, a, b: np.tanh(x), lambda y, a, b: 1 - y * y),
    "leaky_relu": _Rule(lambda x, a, b: np.where(x > 0, x, a * x), lambda x, a, b: np.where(x > 0, 1, a)),
    "elu": _Rule(lambda x, a, b: _elu(x, a), lambda x, a, b: _elu_slope(x, a)),
    "selu": _Rule(lambda x, a, b: b * _elu(x, a), lambda x, a, b: b * _elu_slope(x, a)),
    "gelu": _Rule(lambda x, a, b: x * _normal_cdf(x), lambda x, a, b: _gelu_slope(x)),
    "silu": _Rule(lambda x, a, b: x * expit(x), lambda x, a, b: _silu_slope(x)),
    "mish": _Rule(lambda x, a, b: x * np.tanh(_softplus(x)), lambda x, a, b: _mish_slope(x)),
    "softplus": _Rule(lambda x, a, b: _softplus(x), lambda x, a, b: expit(x)),
    "hard_swish": _Rule(lambda x, a, b: x * np.clip(x + 3, 0, 6) / 6, lambda x, a, b: _hard_swish_slope(x)),
}


class Activations:
    """Element-wise functions; shapes are all equal."""

    def activation(self, x: Array, activation: Activation) -> Array:
        """`y` of x, by the function `activation.name`."""
        return RULES[activation.name].function(x, activation.a, activation.b).astype(x.dtype, copy=False)

    def activation_backward(self, dy: Array, saved: Array, activation: Activation) -> Array:
        """dy times the derivative; `saved` is the function's output or its input, see `activation.needs`.

        If the derivative is 0 the result is 0, also for an infinite dy.
        """
        slope = RULES[activation.name].derivative(saved, activation.a, activation.b)
        return scaled(dy, slope)

    def prelu(self, x: Array, slope: Array) -> Array:
        """`x` where x > 0, else slope * x, for x (..., c) and slope (c,)."""
        return np.where(x > 0, x, slope * x)

    def prelu_backward(self, dy: Array, x: Array, slope: Array, out: Array | None = None) -> tuple[Array, Array]:
        """dx like x, and dslope (c,), in `out` if it is given."""
        dslope = column_sum(rows_of(np.where(x > 0, 0, dy * x)))
        return scaled(dy, np.where(x > 0, 1, slope)), into(out, dslope)


def scaled(dy: FloatArray, slope: FloatArray) -> FloatArray:
    """dy * slope, and 0 where the slope is 0, for any dy."""
    with np.errstate(invalid="ignore"):  # 0 * inf, which is replaced by 0
        return np.where(slope == 0, 0, dy * slope).astype(dy.dtype, copy=False)
