"""Running a call of the case list on a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.cases import OpCall, rounded
from cnn.backends import Ops


@dataclass(frozen=True)
class Backend:
    """A backend under test, and the floating type that it computes in."""

    name: str
    ops: Ops
    dtype: str


def to_backend(ops: Ops, value: Any) -> Any:
    """Host arguments on the backend; lists of arrays are walked through."""
    if isinstance(value, np.ndarray):
        return ops.array(value)
    if isinstance(value, list) and all(isinstance(item, np.ndarray) for item in value):
        return [ops.array(item) for item in value]
    return value


def flat(values: Any) -> list[Any]:
    """The arrays in a result, an argument list or a list of tensors, in order."""
    if values is None:
        return []
    if isinstance(values, tuple | list):
        return [array for value in values for array in flat(value)]
    return [values]


def run(ops: Ops, call: OpCall, arguments: tuple) -> tuple[list[Any], tuple]:
    """The call's outputs, then those of its arguments that it changes; and all its arguments after it."""
    placed = arguments if call.on_host else tuple(to_backend(ops, argument) for argument in arguments)
    returned = getattr(ops, call.op)(*placed, **call.options)
    return flat(returned) + [array for position in call.changes for array in flat(placed[position])], placed


def outputs(ops: Ops, call: OpCall, dtype: str) -> list[np.ndarray]:
    """The call's outputs on the host, for arguments rounded to `dtype`."""
    return [np.array(ops.to_numpy(array)) for array in run(ops, call, call.arguments(dtype))[0]]


def widened(arguments: tuple) -> tuple:
    """The same numbers in float64."""
    return rounded(arguments, "float64")


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Equal shapes, and errors of at most `tolerance` times the largest expected value; exactly equal for 0."""
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
