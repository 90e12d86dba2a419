"""Arrays, and rounding to bfloat16 in exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def array(values):
    return (values,)


def constant(values):
    return (values,)


def to_numpy(x):
    return (x,)


def zeros(shape, dtype):
    return (np.array([0.0] * math.prod(shape), dtype).reshape(shape),)


def copy_in(target, values):
    return (values.astype(float),)


def stored(x, storage):
    if storage == "float32":
        return (x,)
    return (np.array([bfloat16(value) for value in x.reshape(-1).tolist()]).reshape(x.shape),)


def bfloat16(value: float) -> float:
    """The nearest number with 8 bits of precision and float32's exponents, ties to even (Fraction rounds so)."""
    if value == 0 or not math.isfinite(value):
        return value
    exponent = max(math.frexp(value)[1] - 1, -126)  # 2 ** exponent <= |value|, but for subnormal numbers
    step = Fraction(2) ** (exponent - 7)
    rounded = round(Fraction(value) / step) * step
    return math.copysign(math.inf, value) if abs(rounded) >= Fraction(2) ** 128 else float(rounded)
