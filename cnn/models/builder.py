"""From the declarative list in `conf/model/*.yaml` to layers, with an error that names the entry at fault."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnn.backends import Ops
from cnn.layers import LAYERS, BuildContext, Layer, Shape
from cnn.models.containers import Residual, Sequential
from cnn.models.fuse import fuse
from cnn.models.model import Model
from foundation.errors import UserError


def build_model(
    config: Mapping[str, Any],
    ops: Ops,
    input_shape: Shape,
    classes: int,
    seed: int,
    dtype: str = "float32",
) -> Model:
    """Build the model that `config` describes, for images (h, w, c) of `input_shape` and `classes` classes.

    `config` is a plain mapping with `name`, `init` and `layers`; an entry of `layers` is a layer's name, or one
    key with its arguments: `relu`, `dropout: 0.2`, `conv2d: {filters: 64}`, `repeat: {times: 2, layers: [...]}`,
    `residual: {layers: [...], shortcut: [...]}`. Raises `UserError` that names the entry for an unknown layer or
    argument, or a shape that does not fit.
    """
    entries = config.get("layers")
    if not entries:
        raise UserError("model.layers is empty: a model needs at least one layer")
    root = Sequential(_layers(entries, "model.layers", classes))
    _name(root)
    _check_shapes(root, input_shape)
    if (output := root.output_shape(input_shape)) != (classes,):
        raise UserError(
            f"model '{config.get('name')}' ends in shape {output}, but the dataset has {classes} classes: "
            "end it with `dense: {units: classes}`"
        )
    if root.layers[0].kind != "residual":  # a residual block adds both gradients before anyone can leave them out
        root.layers[0].input_needs_gradient = False
    fuse(root, ops)
    context = BuildContext(ops, seed, np.dtype(dtype), str(config.get("init", "he_normal")))
    try:
        root.build(context, input_shape)
    except ValueError as error:
        raise UserError(f"model '{config.get('name')}': {error}") from error
    return Model(str(config.get("name")), root, context, input_shape)


def _layers(entries: Any, where: str, classes: int) -> list[Layer]:
    """The layers of a list of entries; `where` is its place in the config."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise UserError(f"{where} must be a list of layers, not {entries!r}")
    found: list[Layer] = []
    for index, entry in enumerate(entries):
        here = f"{where}[{index}]"
        name, arguments = _name_and_arguments(entry, here)
        if name == "repeat":
            _only(arguments, {"times", "layers"}, here, name)
            times = arguments.get("times")
            if not isinstance(times, int) or times < 0:
                raise UserError(f"{here}: repeat needs a whole number of times, not {times!r}")
            for _ in range(times):  # fresh layers each time: a repeat shares no weights
                found += _layers(arguments.get("layers"), f"{here}.layers", classes)
        elif name == "residual":
            _only(arguments, {"layers", "shortcut"}, here, name)
            body = Sequential(_layers(arguments.get("layers"), f"{here}.layers", classes))
            shortcut = Sequential(_layers(arguments.get("shortcut", []), f"{here}.shortcut", classes))
            found.append(_placed(Residual(body, shortcut), here, name))
        else:
            found.append(_placed(_layer(name, arguments, here, classes), here, name))
    return found


def _layer(name: str, arguments: Any, here: str, classes: int) -> Layer:
    """One layer from its registered name and arguments."""
    if name not in LAYERS:
        known = ", ".join(sorted([*LAYERS, "repeat", "residual"]))
        raise UserError(f"{here}: there is no layer '{name}'; choose one of: {known}")
    allowed = list(inspect.signature(LAYERS[name]).parameters)
    if not isinstance(arguments, Mapping):  # `dropout: 0.2` gives the first argument
        if not allowed:
            raise UserError(f"{here}: {name} takes no arguments")
        arguments = {allowed[0]: arguments}
    _only(arguments, set(allowed), here, name)
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    if arguments.get("units") == "classes":
        arguments["units"] = classes
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


def _placed(layer: Layer, here: str, kind: str) -> Layer:
    layer.kind, layer.place = kind, here
    return layer


def _name(root: Sequential) -> None:
    """Name each leaf after its kind, counted from 1 in order of execution: conv2d_1, conv2d_2, dense_1."""
    counts: dict[str, int] = {}
    for leaf in root.leaves():
        counts[leaf.kind] = counts.get(leaf.kind, 0) + 1
        leaf.name = f"{leaf.kind}_{counts[leaf.kind]}"


def _check_shapes(container: Sequential, shape: Shape) -> Shape:
    """Walk the shapes through, so that a misfit names the entry, and the innermost one."""
    for layer in container.layers:
        if isinstance(layer, Residual):
            _check_shapes(layer.body, shape)
            _check_shapes(layer.shortcut, shape)
        try:
            shape = layer.output_shape(shape)
        except (ValueError, TypeError) as error:
            raise UserError(f"{layer.place} ({layer.name or layer.kind}): {error}") from error
    return shape
