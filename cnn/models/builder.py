"""Builds a model from a list of layers, in a config or as Python objects. An error names the wrong entry."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cnn.backends import Ops
from cnn.layers import JOINS, LAYERS, Concat, DropPath, Join, Layer, Shape
from cnn.layers.dropout import require_rate
from cnn.models.graph import INPUT, Graph, GraphMaker
from cnn.models.model import Model
from foundation.errors import UserError

_RESIDUAL, _REPEAT = "residual", "repeat"
FEATURES = "features"  # what `freeze` calls the nodes before the last dense layer

# Limits for a model from a stranger, whose few lines could ask for more than any computer has.
MOST_ENTRIES = 10_000  # entries of `layers`, those in `repeat` as often as they are repeated
MOST_BRANCHES_DEEP = 50  # branches within branches
MOST_PARAMETERS = 2**31  # 8 GiB in float32


@dataclass(frozen=True)
class Branches:
    """Lists of layers with the same input, whose outputs are joined; an empty list is the identity.

    `join` is add, multiply or concat. `Branches("multiply", [[], [...]])` is a gate. A sum with the input, which may
    have stochastic depth, is a `Residual`.
    """

    join: str
    branches: Sequence[Any]


def Residual(
    layers: Sequence[Any], shortcut: Sequence[Any] = (), drop_path: float | None = None
) -> dict[str, dict[str, Any]]:
    """layers(x) + shortcut(x); an empty shortcut is the identity (He et al. 2016).

    `drop_path` is the probability that training leaves out `layers` for an example, with stochastic depth (Huang et al.
    2016); None takes it from the model's `drop_path`.
    """
    block = {"layers": layers, "shortcut": shortcut}
    return {_RESIDUAL: block if drop_path is None else {**block, "drop_path": drop_path}}


def build_model(
    config: Mapping[str, Any],
    ops: Ops,
    input_shape: Shape,
    classes: int,
    seed: int,
    dtype: str = "float32",
    storage: str = "float32",
    fuse: bool = True,
    freeze: str | None = None,
    most: int = MOST_PARAMETERS,
) -> Model:
    """Build the model that `config` describes, for images (h, w, c) or vectors (c,) of `input_shape`.

    `config` is a plain mapping of `name`, `init`, `layers` and `drop_path`. An entry of `layers` is a layer's name, or
    one key with its arguments: `relu`, `dropout: 0.2`, `conv2d: {filters: 64}`, `repeat: {times: 2, layers: [...]}`,
    `residual: {layers: [...], shortcut: [...], drop_path: 0.1}`, `add: {branches: [[...], [...]]}` and likewise
    `multiply` and `concat`; or a layer object, or `Branches`. `drop_path` is the drop rate of stochastic depth in the
    last residual block, by default 0; the rates of the blocks before it rise to it linearly (Huang et al. 2016,
    section 3). `classes` is the number of classes. `freeze` is the name of a node, such as conv2d_5: it and the nodes
    before it are not trained; "features" freezes all before the last dense layer. For the other arguments see `Model`.
    Raises `UserError` that names the entry for an unknown layer or argument, a shape that does not fit, and a model of
    more than `most` trained numbers.
    """
    graph = build_graph(config, input_shape, classes, freeze)
    name = str(config.get("name", "model"))
    try:
        _check_size(graph, _init_of(config), most)
        return Model(name, graph, ops, seed, _init_of(config), dtype, storage, fuse)
    except ValueError as error:
        raise UserError(f"model '{name}': {error}") from error


def check_model(
    config: Mapping[str, Any],
    input_shape: Shape,
    classes: int,
    freeze: str | None = None,
    sizes: Sequence[tuple[int, int]] = (),
) -> None:
    """Raise the `UserError` that `build_model` would raise, without making weights.

    Also if the model cannot have images of `sizes`, heights and widths, as well.
    """
    graph = build_graph(config, input_shape, classes, freeze)
    try:
        _check_size(graph, _init_of(config), MOST_PARAMETERS)
        for size in sizes:
            graph.resized((*size, *input_shape[2:]))
    except ValueError as error:
        raise UserError(f"model '{config.get('name', 'model')}': {error}") from error


def _check_size(graph: Graph, init: str, most: int) -> None:
    """Raise ValueError for more than `most` trained numbers, and for what layers refuse. Makes no weights."""
    count = 0
    for node in graph.nodes:
        for spec in node.layer.parameters(node.input_shape, init).values():
            count += math.prod(spec.shape)
        if count > most:
            raise ValueError(f"{node.place}: more than {most:,} trained numbers up to here")


def _init_of(config: Mapping[str, Any]) -> str:
    return str(config.get("init", "he_normal"))


def build_graph(config: Mapping[str, Any], input_shape: Shape, classes: int, freeze: str | None = None) -> Graph:
    """The graph that `config` describes; see `build_model`."""
    entries = config.get("layers")
    if not entries:
        raise UserError("model.layers is empty: a model needs at least one layer")
    name = str(config.get("name", "model"))
    stochastic = _StochasticDepth()

    def add_all() -> tuple[GraphMaker, int]:
        maker = GraphMaker(input_shape)
        return maker, _Builder(maker, classes, stochastic).add_all(entries, "model.layers", INPUT, 0)

    try:
        maker, output = add_all()
        if rate := require_rate(0.0 if config.get("drop_path") is None else config["drop_path"], "model.drop_path"):
            stochastic = _StochasticDepth(rate, max(1, stochastic.seen))  # the blocks are counted now
            maker, output = add_all()
    except ValueError as error:
        raise UserError(str(error)) from error
    except RecursionError as error:
        raise UserError("model.layers has lists within lists too deep to be read") from error
    if output == INPUT or maker.shape_of(output) != (classes,):
        raise UserError(
            f"model '{name}' ends in shape {maker.shape_of(output)}, but the dataset has {classes} classes: "
            "end it with `dense: {units: classes}`"
        )
    graph = Graph(tuple(maker.nodes), maker.input_shape)
    return graph if freeze is None else _frozen(graph, freeze)


def _frozen(graph: Graph, freeze: str) -> Graph:
    """The graph with the first nodes frozen, up to the node `freeze`, or all "features"."""
    if freeze == FEATURES:
        if graph.head is None:
            raise UserError(f"freeze={FEATURES} freezes all before the last dense layer, and the model has none")
        frozen = graph.head
    else:
        try:
            frozen = graph.index(freeze) + 1
        except KeyError as error:
            raise UserError(f"freeze={freeze}: {error.args[0]}; or give {FEATURES}") from error
    if not any(node.layer.parameters(node.input_shape) for node in graph.nodes[frozen:]):
        raise UserError(f"freeze={freeze} leaves nothing to train")
    return replace(graph, frozen=frozen)


@dataclass
class _StochasticDepth:
    """The drop rates of the residual blocks of a network, which rise linearly to that of the last block."""

    last: float = 0.0
    blocks: int = 1  # of the network
    seen: int = 0  # blocks that have their rate

    def next(self) -> float:
        """The rate of the next block."""
        self.seen += 1
        return self.last * self.seen / self.blocks


@dataclass(frozen=True)
class _Builder:
    """Adds entries to a graph. Errors name their places in the config."""

    maker: GraphMaker
    classes: int
    stochastic: _StochasticDepth
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
            return self._residual(arguments, here, at, depth)
        if name in JOINS:
            _only(arguments, {"branches"}, here, name)
            return self._join(name, _numbered(name, arguments.get("branches"), here), here, at, depth)
        layer = _layer(name, arguments, here).for_classes(self.classes)
        return self.maker.add(name, layer, [at], here, depth)

    def _residual(self, arguments: Any, here: str, at: int, depth: int) -> int:
        """Add layers, their stochastic depth, the shortcut, and the sum. A rate of 0 adds no node."""
        _only(arguments, {"layers", "shortcut", "drop_path"}, here, _RESIDUAL)
        rate = self.stochastic.next()  # counts the block even if it has a rate of its own
        if arguments.get("drop_path") is not None:
            rate = require_rate(arguments["drop_path"], f"{here}: drop_path")
        branch = self.add_all(arguments.get("layers"), f"{here}.layers", at, depth + 1)
        if rate:
            branch = self.maker.add("drop_path", DropPath(rate), [branch], f"{here}.drop_path", depth + 1)
        shortcut = self.add_all(arguments.get("shortcut", []), f"{here}.shortcut", at, depth + 1)
        return self.maker.add("add", JOINS["add"](), [branch, shortcut], here, depth)

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
