"""Running a call of the case list on a backend, and comparing what comes out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import oracles
from backends.cases import TOLERANCE_OF, TOLERANCES, Call
from backends.cases.call import Constant, Filled, host, leaves, mapped, on_host
from cnn.backends import Ops


@dataclass(frozen=True)
class Backend:
    """A backend under test, and the floating type that it computes in."""

    name: str
    ops: Ops
    dtype: str
    same_bits: Sequence[Ops] = ()  # others that must return the same bits: more threads, or itself once more


@dataclass(frozen=True)
class Outcome:
    """What a call did."""

    returned: list[Any]  # the arrays that it returned
    changed: list[Any]  # those of its arguments that it changes in place
    kept: list[tuple[Any, np.ndarray]]  # its other arguments, and what they were

    @property
    def results(self) -> list[Any]:
        """What the call computed: arrays that were returned, then those that were changed; each once."""
        given = {id(array) for array in self.changed}
        return [array for array in self.returned if id(array) not in given] + self.changed


def run(ops: Ops, call: Call, dtype: str, put: Callable[[int, np.ndarray], Any] | None = None) -> Outcome:
    """The call on fresh arguments. `put(position, values)` may place an array elsewhere than the backend would."""
    changed: list[Any] = []
    kept: list[tuple[Any, np.ndarray]] = []

    def place(leaf: Any) -> Any:
        values = host(leaf, dtype)
        if call.on_host:
            placed = values if not isinstance(leaf, np.ndarray) else _as_it_lies(leaf, values)
        else:
            placed = put(len(changed) + len(kept), values) if put else None
            if placed is None:
                placed = ops.constant(values) if isinstance(leaf, Constant) else ops.array(values)
        if isinstance(leaf, Filled):
            changed.append(placed)
        else:
            kept.append((placed, values.copy()))
        return placed

    placed = mapped(call.arguments, place)
    return Outcome(flat(call(ops, placed)), changed, kept)


def _as_it_lies(leaf: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values in the leaf's own order in memory: host arrays need not be contiguous."""
    return np.asfortranarray(values) if leaf.flags.f_contiguous and not leaf.flags.c_contiguous else values


def flat(values: Any) -> list[Any]:
    """The arrays in a result, in order."""
    if isinstance(values, tuple | list):
        return [array for value in values for array in flat(value)]
    return [] if values is None else [values]


def outputs(ops: Ops, call: Call, dtype: str) -> list[np.ndarray]:
    """The call's results on the host."""
    return [np.array(ops.to_numpy(array)) for array in run(ops, call, dtype).results]


@functools.cache
def expected(call: Call) -> list[np.ndarray]:
    """What the call's oracle gives; the reference in float64 for gradients, which finite differences check."""
    oracle = getattr(oracles, call.op, None)
    if oracle is None:
        return outputs(Ops(), call, "float64")
    arguments = on_host(call.arguments, "float64")
    values = flat(oracle(*arguments.args, **arguments.options))
    return [np.asarray(value) for value in values]


def tolerance(call: Call, dtype: str) -> float:
    """How far a result may be from what is expected, as a fraction of the largest."""
    return TOLERANCES[dtype][call.held_to or TOLERANCE_OF.get(call.op, "element")]


def assert_close(actual: np.ndarray, wanted: np.ndarray, most: float) -> None:
    """Equal shapes, and errors of at most `most` times the largest finite expected value; exactly equal for 0."""
    assert actual.shape == wanted.shape
    finite = np.isfinite(wanted)
    scale = np.abs(wanted[finite]).max(initial=0)
    np.testing.assert_array_equal(np.isfinite(actual), finite)
    np.testing.assert_array_equal(actual[~finite], wanted[~finite])
    np.testing.assert_allclose(actual[finite], wanted[finite], rtol=0, atol=most * scale)


def number_of_elements(call: Call) -> int:
    """How many numbers the call takes."""
    return sum(host(leaf, "float32").size for leaf in leaves(call.arguments))


def compute(backend: Backend, op: str, *arguments: Any, **options: Any) -> Any:
    """What the operation returns on the host, for arguments of the host; float64 arrays as the backend's type."""

    def place(values: np.ndarray) -> Any:
        return backend.ops.array(values.astype(backend.dtype) if values.dtype == "float64" else values)

    returned = getattr(backend.ops, op)(*mapped(arguments, place), **mapped(options, place))
    if isinstance(returned, tuple | list):
        return tuple(None if array is None else np.array(backend.ops.to_numpy(array)) for array in returned)
    return np.array(backend.ops.to_numpy(returned))
