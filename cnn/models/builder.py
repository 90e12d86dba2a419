"""Builds a model from a list of layers, in a config or as Python objects. An error names the wrong entry."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnn.backends import Ops
from cnn.layers import JOINS, LAYERS, Concat, Join, Layer, Shape
from cnn.models.graph import INPUT, Graph, GraphMaker
from cnn.models.model import Model
from foundation.errors import UserError

_RESIDUAL, _REPEAT = "residual", "repeat"

# Limits for a model from a stranger, whose few lines could ask for more than any computer has.
MOST_ENTRIES = 10_000  # entries of `layers`, those in `repeat` as often as they are repeated
MOST_BRANCHES_DEEP = 50  # branches within branches


@dataclass(frozen=True)
class Branches:
    """Lists of layers with the same input, whose outputs are joined; an empty list is the identity.

    `join` is add, multiply or concat. `Branches("add", [[...], []])` is a residual block,
    `Branches("multiply", [[], [...]])` a gate.
    """

    join: str
    branches: Sequence[Any]


def Residual(layers: Sequence[Any], shortcut: Sequence[Any] = ()) -> Branches:
    """layers(x) + shortcut(x); an empty shortcut is the identity (He et al. 2016)."""
    return Branches("add", [layers, shortcut])


def build_model(
    config: Mapping[str, Any],
    ops: Ops,
    input_shape: Shape,
    classes: int,
    seed: int,
    dtype: str = "float32",
    storage: str = "float32",
    fuse: bool = True,
) -> Model:
    """Build the model that `config` describes, for images (h, w, c) or vectors (c,) of `input_shape`.

    `config` is a plain mapping with `name`, `init` and `layers`. An entry of `layers` is a layer's name, or one key
    with its arguments: `relu`, `dropout: 0.2`, `conv2d: {filters: 64}`, `repeat: {times: 2, layers: [...]}`,
    `residual: {layers: [...], shortcut: [...]}`, `add: {branches: [[...], [...]]}` and likewise `multiply` and
    `concat`; or a layer object, or `Branches`. Raises `UserError` that names the entry for an unknown layer or
    argument, or a shape that does not fit. `classes` is the number of classes; for the other arguments see `Model`.
    """
    graph = build_graph(config, input_shape, classes)
    name = str(config.get("name", "model"))
    try:
        return Model(name, graph, ops, seed, _init_of(config), dtype, storage, fuse)
    except ValueError as error:
        raise UserError(f"model '{name}': {error}") from error


def check_model(config: Mapping[str, Any], input_shape: Shape, classes: int) -> None:
    """Raise the `UserError` that `build_model` would raise, without making weights."""
    graph = build_graph(config, input_shape, classes)
    try:
        for node in graph.nodes:
            node.layer.parameters(node.input_shape, _init_of(config))
    except ValueError as error:
        raise UserError(f"model '{config.get('name', 'model')}': {error}") from error


def _init_of(config: Mapping[str, Any]) -> str:
    return str(config.get("init", "he_normal"))


def build_graph(config: Mapping[str, Any], input_shape: Shape, classes: int) -> Graph:
    """The graph that `config` describes; see `build_model`."""
    entries = config.get("layers")
    if not entries:
        raise UserError("model.layers is empty: a model needs at least one layer")
    name = str(config.get("name", "model"))
    maker = GraphMaker(input_shape)
    try:
        output = _Builder(maker, classes).add_all(entries, "model.layers", INPUT, 0)
    except ValueError as error:
        raise UserError(str(error)) from error
    except RecursionError as error:
        raise UserError("model.layers has lists within lists too deep to be read") from error
    if output == INPUT or maker.shape_of(output) != (classes,):
        raise UserError(
            f"model '{name}' ends in shape {maker.shape_of(output)}, but the dataset has {classes} classes: "
            "end it with `dense: {units: classes}`"
        )
    return Graph(tuple(maker.nodes), maker.input_shape)


@dataclass(frozen=True)
class _Builder:
    """Adds entries to a graph. Errors name their places in the config."""

    maker: GraphMaker
    classes: int
    entries: Iterator[int] = field(default_factory=itertools.count)  # each takes a number

    def add_all(self, entries: Any, where: str, at: int, depth: int) -> int:
        """Add the entries in sequence after node `at`; return the index of the last node."""
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise UserError(f"{where} must be a list of layers, not {entries!r}")
        if depth > MOST_BRANCHES_DEEP:
            raise UserError(f"model.layers has branches within branches deeper than {MOST_BRANCHES_DEEP} levels")
        for number, entry in enumerate(entries):
            at = self._add(entry, f"{where}[{number}]", at, depth)
        return at

    def _add(self, entry: Any, here: str, at: int, depth: int) -> int:
        self._count(here)
        if isinstance(entry, Branches):
            return self._join(entry.join, _numbered(entry.join, entry.branches, here), here, at, depth)
        if isinstance(entry, Join):
            raise UserError(
                f"{here}: {kind_of(entry)} joins branches: write Branches('{kind_of(entry)}', [[...], [...]])"
            )
        if isinstance(entry, Layer):
            return self.maker.add(kind_of(entry), entry.for_classes(self.classes), [at], here, depth)
        name, arguments = _name_and_arguments(entry, here)
        if name == _REPEAT:
            _only(arguments, {"times", "layers"}, here, name)
            times = arguments.get("times")
            if not isinstance(times, int) or isinstance(times, bool) or times < 0:
                raise UserError(f"{here}: repeat needs a whole number of times, not {times!r}")
            for _ in range(times):  # new nodes each time: repeats do not share weights
                self._count(here)
                at = self.add_all(arguments.get("layers"), f"{here}.layers", at, depth)
            return at
        if name == _RESIDUAL:
            _only(arguments, {"layers", "shortcut"}, here, name)
            parts = [("layers", arguments.get("layers")), ("shortcut", arguments.get("shortcut", []))]
            return self._join("add", parts, here, at, depth)
        if name in JOINS:
            _only(arguments, {"branches"}, here, name)
            return self._join(name, _numbered(name, arguments.get("branches"), here), here, at, depth)
        layer = _layer(name, arguments, here).for_classes(self.classes)
        return self.maker.add(name, layer, [at], here, depth)

    def _count(self, here: str) -> None:
        if next(self.entries) >= MOST_ENTRIES:
            raise UserError(f"{here}: the model has more than {MOST_ENTRIES:,} layers, repeated ones counted")

    def _join(self, kind: str, branches: Sequence[tuple[str, Any]], here: str, at: int, depth: int) -> int:
        """Add all branches after `at`, then their join; sums and products join two at a time."""
        if kind not in JOINS:
            raise UserError(f"{here}: there is no join '{kind}'; choose one of: {', '.join(JOINS)}")
        ends = [self.add_all(entries, f"{here}.{key}", at, depth + 1) for key, entries in branches]
        if kind == "concat":
            return self.maker.add(kind, Concat(), ends, here, depth)
        joined = ends[0]
        for end in ends[1:]:
            joined = self.maker.add(kind, JOINS[kind](), [joined, end], here, depth)
        return joined


def _numbered(join: str, branches: Any, here: str) -> list[tuple[str, Any]]:
    """The branches with their places in the entry. Raises `UserError` for fewer than two."""
    if not isinstance(branches, Sequence) or isinstance(branches, str) or len(branches) < 2:
        raise UserError(f"{here}: {join} needs a list of at least two branches, not {branches!r}")
    return [(f"branches[{number}]", branch) for number, branch in enumerate(branches)]


def kind_of(layer: Layer) -> str:
    """The name of the layer's class in a config, or the class's own name if it has none."""
    known = {layer_class: name for name, layer_class in {**LAYERS, **JOINS}.items()}
    return known.get(type(layer), type(layer).__name__.lower())


def _layer(name: str, arguments: Any, here: str) -> Layer:
    """One layer from its registered name and arguments."""
    if name not in LAYERS:
        known = ", ".join(sorted([*LAYERS, *JOINS, _REPEAT, _RESIDUAL]))
        raise UserError(f"{here}: there is no layer '{name}'; choose one of: {known}")
    allowed = list(inspect.signature(LAYERS[name]).parameters)
    if not isinstance(arguments, Mapping):  # `dropout: 0.2` gives the first argument
        if not allowed:
            raise UserError(f"{here}: {name} takes no arguments")
        arguments = {allowed[0]: arguments}
    _only(arguments, set(allowed), here, name)
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    try:
        return LAYERS[name](**arguments)
    except (ValueError, TypeError) as error:
        raise UserError(f"{here}: {name}: {error}") from error


def _name_and_arguments(entry: Any, here: str) -> tuple[str, Any]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        name, arguments = next(iter(entry.items()))
        return str(name), {} if arguments is None else arguments
    raise UserError(f"{here}: an entry is a layer's name or one `name: arguments` pair, not {entry!r}")


def _only(arguments: Any, allowed: set[str], here: str, name: str) -> None:
    if not isinstance(arguments, Mapping):
        raise UserError(f"{here}: {name} takes {', '.join(sorted(allowed))}, not {arguments!r}")
    if unknown := sorted(set(map(str, arguments)) - allowed):
        raise UserError(
            f"{here}: {name} has no argument '{unknown[0]}'; it takes {', '.join(sorted(allowed)) or 'none'}"
        )
