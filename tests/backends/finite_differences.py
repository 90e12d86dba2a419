"""Central finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEP = 1e-5


def slope(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, direction: np.ndarray, dy: np.ndarray) -> float:
    """Derivative of sum(dy * function(x)) along `direction`."""
    return float(np.sum(dy * (function(x + STEP * direction) - function(x - STEP * direction)))) / (2 * STEP)


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """Norm of the difference over the sum of the norms; 0 where both vanish."""
    norms = np.linalg.norm(a) + np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / norms) if norms > 0 else 0.0


def directional_error(function, x, dy, gradient, rng, directions: int = 4) -> float:
    """Relative error of `gradient` along random directions."""
    drawn = [rng.normal(size=x.shape) for _ in range(directions)]
    measured = np.array([slope(function, x, d, dy) for d in drawn])
    return relative_error(measured, np.array([np.sum(gradient * d) for d in drawn]))


def elementwise_error(function, x, dy, gradient) -> float:
    """Relative error of `gradient`, one element of x at a time."""
    measured = np.empty(x.size)
    for i in range(x.size):
        direction = np.zeros(x.size)
        direction[i] = 1
        measured[i] = slope(function, x, direction.reshape(x.shape), dy)
    return relative_error(measured, gradient.reshape(-1))
