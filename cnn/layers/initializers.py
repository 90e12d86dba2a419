"""Initializers of weights, by their common names."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Initializer = Callable[[np.random.Generator, tuple[int, ...], int, int], NDArray[np.float64]]


def glorot_uniform(
    generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[np.float64]:
    """Uniform within sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010), the default of Keras."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return generator.uniform(-limit, limit, shape)


def he_normal(generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> NDArray[np.float64]:
    """Normal with deviation sqrt(2 / fan_in) (He et al. 2015), for ReLU."""
    return generator.normal(0.0, math.sqrt(2 / fan_in), shape)


INITIALIZERS: dict[str, Initializer] = {"glorot_uniform": glorot_uniform, "he_normal": he_normal}


def known_init(name: str | None) -> str | None:
    """`name` itself; None means the model's initializer. Raises ValueError for an unknown name."""
    if name is not None:
        initializer(name)
    return name


def initializer(name: str) -> Initializer:
    """The initializer called `name`. Raises ValueError for an unknown name."""
    if name not in INITIALIZERS:
        raise ValueError(f"there is no init '{name}'; choose one of: {', '.join(INITIALIZERS)}")
    return INITIALIZERS[name]
