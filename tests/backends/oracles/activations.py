"""Activations by closed formulas, of which some are not those of the code."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

# Klambauer et al. 2017.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _mish(x):
    """tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2) with e = exp(x)."""
    e = np.exp(np.minimum(x, 30))
    return x * (e * (e + 2) / (e * (e + 2) + 2))


def _clip(x, a, b):
    raised = np.where(x < a, a, x)
    return np.where(raised > b, b, raised)


def _hard_swish(x):
    return np.where(x < -3, 0.0, np.where(x > 3, x, x * (x + 3) / 6))


FUNCTIONS = {
    "relu": lambda x, a, b: np.where(x > 0, x, 0.0),
    "clip": _clip,
    "sigmoid": lambda x, a, b: special.expit(x),
    "tanh": lambda x, a, b: np.array([math.tanh(value) for value in x.reshape(-1).tolist()]).reshape(x.shape),
    "leaky_relu": lambda x, a, b: np.where(x > 0, x, a * x),
    "elu": lambda x, a, b: np.where(x > 0, x, a * special.expm1(np.minimum(x, 0))),
    "selu": lambda x, a, b: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * special.expm1(np.minimum(x, 0))),
    "gelu": lambda x, a, b: x * special.ndtr(x),
    "silu": lambda x, a, b: x * special.expit(x),
    "mish": lambda x, a, b: _mish(x),
    "softplus": lambda x, a, b: -special.log_expit(-x),
    "hard_swish": lambda x, a, b: _hard_swish(x),
}


def activation(x, activation):
    return (FUNCTIONS[activation.name](x, activation.a, activation.b),)


def prelu(x, slope):
    y = x.copy()
    for channel in range(x.shape[-1]):
        below = x[..., channel] < 0
        y[..., channel][below] = slope[channel] * x[..., channel][below]
    return (y,)
