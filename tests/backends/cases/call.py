"""One call of one operation: how its arguments are made, placed on a backend, and how it is run.

Arguments are trees: tuples, lists, mappings and the dataclasses of `cnn.backends.blocks`, with arrays for leaves. Their
numbers are float32's in every run, so that one oracle serves float32 and float64.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn.backends import Ops, Window


@dataclass(frozen=True)
class Filled:
    """An array, or an `Exactly`, that the operation changes in place."""

    values: Any


@dataclass(frozen=True)
class Exactly:
    """A floating-point array that keeps its own type in every run."""

    values: np.ndarray


@dataclass(frozen=True)
class Constant:
    """An array that the backend gets by `constant`."""

    values: np.ndarray


@dataclass(frozen=True)
class Given:
    """A call's arguments."""

    args: tuple
    options: dict[str, Any]


def given(*args: Any, **options: Any) -> Given:
    """The arguments as they would stand in the call."""
    return Given(args, options)


def poison(*shape: int) -> Filled:
    """An array to be filled: what is left out stays NaN."""
    return Filled(np.full(shape, np.nan))


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one operation."""

    op: str
    case: str
    build: Callable[[np.random.Generator], Given]
    held_to: str = ""  # a tolerance other than the operation's
    invoke: Callable[..., Any] | None = None  # (ops, *args, **options), where it takes more than the operation itself
    on_host: bool = False  # whether the arguments stay NumPy's on every backend
    may_share: bool = False  # whether the result may be an argument itself
    any_type: bool = False  # whether a backend may keep the result's numbers in a type of its own

    @property
    def id(self) -> str:
        return f"{self.op}-{self.case}"

    @functools.cached_property
    def arguments(self) -> Given:
        """The arguments on the host, the same in every process; `host` copies them."""
        return self.build(np.random.default_rng(zlib.crc32(self.id.encode())))

    def __call__(self, ops: Ops, arguments: Given) -> Any:
        """What the operation returns for arguments on the backend."""
        if self.invoke:
            return self.invoke(ops, *arguments.args, **arguments.options)
        return getattr(ops, self.op)(*arguments.args, **arguments.options)


def mapped(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """The tree with `leaf(array or marker)` for its arrays and markers."""
    if isinstance(tree, np.ndarray | Filled | Exactly | Constant):
        return leaf(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(each, leaf) for each in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(each, leaf) for each in tree)
    if isinstance(tree, dict):
        return {name: mapped(each, leaf) for name, each in tree.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, Window):
        fields = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
        return type(tree)(**mapped(fields, leaf))
    return tree


def leaves(tree: Any) -> Iterator[Any]:
    """The arrays and markers of a tree, in order."""
    found: list[Any] = []
    mapped(tree, found.append)
    return iter(found)


def host(leaf: Any, dtype: str) -> np.ndarray:
    """The leaf as a fresh NumPy array: float64 ones hold float32's numbers in `dtype`, others keep their type."""
    if isinstance(leaf, Filled | Constant):
        return host(leaf.values, dtype)
    if isinstance(leaf, Exactly):
        return leaf.values.copy()
    if leaf.dtype.kind == "f":
        return leaf.astype(np.float32).astype(dtype)
    return leaf.copy()


def on_host(arguments: Given, dtype: str) -> Given:
    """The arguments as plain NumPy arrays."""
    return mapped(arguments, lambda leaf: host(leaf, dtype))
