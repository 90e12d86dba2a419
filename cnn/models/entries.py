"""Converts a list of layers to the entries of a config, so that it can be saved as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnn.layers import LAYERS, Layer
from cnn.models.builder import Branches, kind_of
from foundation.errors import UserError


def plain_entries(entries: Sequence[Any], where: str = "model.layers") -> list[Any]:
    """Entries for `build_model` as mappings, lists, text and numbers only; they build the same network.

    Raises `UserError`, naming the place, for a layer whose class has no name in a config.
    """
    return [_plain(entry, f"{where}[{number}]") for number, entry in enumerate(entries)]


def _plain(entry: Any, here: str) -> Any:
    if isinstance(entry, Layer):
        kind = kind_of(entry)
        if type(entry) is not LAYERS.get(kind):
            raise UserError(
                f"{here}: {type(entry).__name__} is a layer of your own, which a file cannot name: pickle keeps it"
            )
        arguments = {name: _listed(value) for name, value in entry.arguments().items()}
        return {kind: arguments} if arguments else kind
    if isinstance(entry, Branches):
        return {entry.join: {"branches": _branches(entry.branches, here)}}
    if isinstance(entry, Mapping):
        return {str(name): _arguments(arguments, here) for name, arguments in entry.items()}
    return _listed(entry)


def _arguments(arguments: Any, here: str) -> Any:
    """The arguments of a named entry; some contain further entries."""
    if not isinstance(arguments, Mapping):
        return _listed(arguments)
    found = {}
    for key, value in arguments.items():
        if key in ("layers", "shortcut"):
            found[str(key)] = plain_entries(value, f"{here}.{key}")
        else:
            found[str(key)] = _branches(value, here) if key == "branches" else _listed(value)
    return found


def _branches(branches: Sequence[Any], here: str) -> list[Any]:
    return [plain_entries(branch, f"{here}.branches[{number}]") for number, branch in enumerate(branches)]


def _listed(value: Any) -> Any:
    """Tuples as lists, for JSON and YAML."""
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value
