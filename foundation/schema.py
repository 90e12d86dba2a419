"""Dataclasses as schemas of config groups: values are checked and converted, and an error names the key."""

from __future__ import annotations

import difflib
import functools
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from foundation.errors import UserError

Schema = TypeVar("Schema")
Schemas = Mapping[str, Sequence[type]]  # of a command: group -> dataclasses, '' for the options outside groups

UNSET = "???"  # a value that must be given
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def build(schema: type[Schema], values: Any, key: str) -> Schema:
    """The dataclass `schema` from the mapping `values`, whose place in the config is `key`.

    Numbers and booleans may be text, and a mapping may be a list of pairs. Raises `UserError` naming the full key for
    an unknown or missing key and for a value of another type.
    """
    if is_dataclass(values) and isinstance(values, schema):
        return values
    if not isinstance(values, Mapping):
        raise UserError(f"{key} must be a mapping of options, not {_shown(values)}")
    hints = hints_of(schema)  # type: ignore[arg-type]  # a class can be hashed
    given = {str(name): value for name, value in values.items()}
    known = {field.name: field for field in fields(schema)}  # type: ignore[arg-type]  # a dataclass
    for name in given:
        if name not in known:
            full = f"{key}.{name}" if key else name
            near = closest(name, known)
            meant = f"did you mean '{full.removesuffix(name)}{near}'?"
            every = f"{key or 'the command'} has {', '.join(known)}"
            raise UserError(f"there is no option '{full}'; {meant if near else every}")
    ready = {}
    for name, field in known.items():
        full = f"{key}.{name}" if key else name
        if name in given and given[name] != UNSET:
            ready[name] = converted(given[name], hints[name], full)
        elif name in given or _must_be_given(field):
            raise UserError(f"{full}=... is missing: give it on the command line")
    return schema(**ready)


def converted(value: Any, hint: Any, key: str) -> Any:  # noqa: PLR0911 - one case for each kind of type
    """`value` as the type `hint`. Raises `UserError` naming `key`."""
    if hint is Any:
        return value
    named = _name(hint)
    hint, optional = without_none(hint)
    if value is None:
        if optional:
            return None
        raise UserError(f"{key} must be {named}, not null")
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, key)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (list, Sequence):
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise UserError(f"{key} must be a list, {key}=[a,b,c], not {_shown(value)}")
        return [converted(item, parts[0], f"{key}[{number}]") for number, item in enumerate(value)]
    if origin in (dict, Mapping):
        return {
            converted(name, parts[0], f"a key of {key}"): converted(item, parts[1], f"{key}.{name}")
            for name, item in _pairs(value, key)
        }
    if origin is Union or isinstance(hint, types.UnionType):
        return _first(value, parts, key)
    if hint in _CONVERT:
        found = _CONVERT[hint](value)
        if found is None:
            raise UserError(f"{key} must be {named}, not {_shown(value)}")
        return found
    return value


def hint_at(schemas: Schemas, path: Sequence[str]) -> Any:
    """The type of the option at `path`, such as ("data", "classes"); None for an unknown one."""
    if not path:
        return None
    group, rest = (path[0], path[1:]) if path[0] in schemas else ("", path)
    for schema in schemas.get(group, ()):
        if not rest:
            return schema
        found: Any = schema
        for name in rest:
            found = member(found, name)
        if found is not None:
            return found
    return None


def member(hint: Any, name: str) -> Any:
    """The type of the item `name` of a value of type `hint`; None if there is no such item."""
    hint = without_none(hint)[0]
    if hint is Any:
        return Any
    if is_dataclass(hint) and isinstance(hint, type):
        return hints_of(hint).get(name)
    return get_args(hint)[1] if get_origin(hint) in (dict, Mapping) else None


@functools.cache
def hints_of(schema: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return get_type_hints(schema)


def without_none(hint: Any) -> tuple[Any, bool]:
    """The type without `None`, and whether `None` was allowed."""
    parts = get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is Union else ()
    left = [part for part in parts if part is not type(None)]
    if len(left) == len(parts):
        return hint, False
    return (left[0] if len(left) == 1 else Union[tuple(left)]), True  # noqa: UP007 - of types known at run time


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or None."""
    folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(word.casefold(), folded, 1, 0.6)
    return folded[found[0]] if found else None


def _must_be_given(field: Field[Any]) -> bool:
    return field.default == UNSET or (field.default is MISSING and field.default_factory is MISSING)


def _pairs(value: Any, key: str) -> list[tuple[Any, Any]]:
    """The items of a mapping, or of a list of pairs."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        pairs = [tuple(item) for item in value if isinstance(item, Sequence) and not isinstance(item, str)]
        if len(pairs) == len(value) and all(len(pair) == 2 for pair in pairs):
            return [(pair[0], pair[1]) for pair in pairs]
    raise UserError(f"{key} must be a mapping, '{key}={{a: b}}', not {_shown(value)}")


def _first(value: Any, hints: Sequence[Any], key: str) -> Any:
    for hint in hints:
        try:
            return converted(value, hint, key)
        except UserError:
            continue
    raise UserError(f"{key} must be {' or '.join(map(_name, hints))}, not {_shown(value)}")


def _bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return _BOOLEANS.get(str(value).casefold()) if isinstance(value, str | int) else None


def _int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value) if isinstance(value, int | str) else int(value) if value == math.floor(value) else None
    except (ValueError, OverflowError):
        return None


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


_CONVERT: dict[Any, Any] = {bool: _bool, int: _int, float: _float, str: _text}
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _name(hint: Any) -> str:
    inner, optional = without_none(hint)
    named = _NAMES.get(inner) or ("a list" if get_origin(inner) is list else "a mapping")
    return f"{named} or null" if optional else named


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
