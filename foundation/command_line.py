"""The arguments of a command before Hydra reads them: text stays text.

Hydra reads `001` as text but `1e3` as a number, `a,b` as a sweep, and stops at an accent. An option that is text by
its type is quoted here, so that class names and paths may be written as they are. Mappings may be given where the
config has an empty one, which Hydra refuses without a prefix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

from foundation.errors import UserError
from foundation.schema import Schemas, hint_at, member, without_none

_ARGUMENT = re.compile(r"(?P<prefix>\+{0,2})(?P<key>[\w.$-]+)=(?P<value>.*)", re.DOTALL)
_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|extend_list|int|float|str|bool|json_str)\(.*\)")
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*|[1-9]\d*|0")  # a key of a mapping that Hydra keeps as it is
_CONSTANTS = ("true", "false", "null")
# Text that Hydra reads as it stands, which is then recorded as it stands too.
_SAFE = re.compile(r"([A-Za-z_/]|\.{1,2}/)[\w./-]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)
_CANONICAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?|true|false|null|True|False")
PATHS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")

Pairs = list[tuple[str, Any]]  # a mapping in the order of the command line


def prepared(arguments: Sequence[str], schemas: Schemas, replaced: Sequence[str] = ()) -> list[str]:
    """The arguments for Hydra. `replaced` names mappings whose given value takes the place of the config's own.

    Raises `UserError` for a list or mapping whose brackets do not close, with the quoting that works.
    """
    many = any(argument in ("-m", "--multirun") for argument in arguments)
    ready = []
    for argument in arguments:
        found = None if argument.startswith("-") else _ARGUMENT.fullmatch(argument)
        if found is None:
            ready.append(argument)
            continue
        prefix, key, value = found["prefix"], found["key"], found["value"]
        path = tuple(key.split("."))
        hint = str if key in PATHS else hint_at(schemas, path)
        if hint is None or (many and _is_sweep(value)):
            ready.append(argument)
            continue
        try:
            text = _quoted(value.strip(), hint)
        except ValueError as error:
            form = "{name: value}" if get_origin(without_none(hint)[0]) is dict else "[one,two]"
            raise UserError(f"{key}: {error}; for the shell put quotes around the whole: '{key}={form}'") from error
        is_mapping = get_origin(without_none(hint)[0]) is dict
        if is_mapping and value.strip().startswith("{"):
            if key in replaced or text.startswith("["):  # Hydra would add to what is there
                ready.append(f"++{key}=null")
            prefix = "++"
        elif _inside_mapping(schemas, path):
            prefix = "++"
        ready.append(f"{prefix}{key}={text}")
    return ready


def _is_sweep(value: str) -> bool:
    """Whether it is several values, or a function of Hydra that gives several."""
    try:
        return len(_split(value, ",")) > 1 or _SWEEP.fullmatch(value) is not None
    except ValueError:
        return False


def _inside_mapping(schemas: Schemas, path: Sequence[str]) -> bool:
    """Whether the option is a value in a mapping with free keys, as in data.label_map.joy=happy."""
    above = [hint_at(schemas, path[:depth]) for depth in range(2, len(path))]
    return any(get_origin(without_none(hint)[0]) is dict for hint in above)


def _quoted(text: str, hint: Any) -> str:
    """`text` in Hydra's grammar, a value of the type `hint`."""
    hint, optional = without_none(hint)
    if text == "" or _is_quoted(text) or (text.startswith("${") and text.endswith("}")):
        return text
    if optional and text == "null":
        return text
    if hint == str | list[str]:
        hint = list[str] if text.startswith("[") else str
    if hint is str:
        return quote(text)
    if get_origin(hint) is list or (hint is Any and text.startswith("[")):
        item = Any if hint is Any else get_args(hint)[0]
        return _in_brackets(text, "[", "]", lambda part: _quoted(part, item))
    if get_origin(hint) is dict and not text.startswith(("{", "[[")):
        raise ValueError(f"must be a mapping in braces, not {text}")
    if text.startswith("{") and (hint is Any or isinstance(hint, type) or get_origin(hint) is dict):
        return _mapping(text, hint)
    # A value of any type is text unless a number or constant would be printed as it stands.
    odd = _NUMBER.fullmatch(text) and not _CANONICAL.fullmatch(text)
    return quote(text) if hint is Any and (odd or (not _NUMBER.fullmatch(text) and text not in _CONSTANTS)) else text


def _in_brackets(text: str, opening: str, closing: str, each: Callable[[str], str]) -> str:
    if not text.startswith(opening):
        return text
    if not text.endswith(closing):
        raise ValueError(f"{text!r} begins with {opening} and does not end with {closing}")
    parts = _split(text[1:-1], ",")
    return opening + ",".join(each(part.strip()) for part in parts if part.strip()) + closing


def _mapping(text: str, hint: Any) -> str:
    """A mapping; as a list of pairs if Hydra could not keep a key as it is."""
    if not text.endswith("}"):
        raise ValueError(f"{text!r} begins with {{ and does not end with }}")
    pairs = []
    for part in _split(text[1:-1], ","):
        if not part.strip():
            continue
        key, *rest = _split(part, ":", 1)
        if not rest:
            raise ValueError(f"{part.strip()!r} is no `key: value`")
        name = unquoted(key.strip())
        pairs.append((name, _quoted(rest[0].strip(), member(hint, name) or Any)))
    as_they_are = all(_PLAIN_KEY.fullmatch(name) and name.casefold() not in _CONSTANTS for name, _ in pairs)
    if as_they_are or get_origin(hint) is not dict or get_origin(get_args(hint)[1]) is dict:
        return "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}"
    return "[" + ",".join(f"[{quote(name)},{value}]" for name, value in pairs) + "]"


def _split(text: str, at: str, most: int = -1) -> list[str]:
    """Split at a sign outside quotes and brackets; at ':' only before a space, a quote, a bracket or a last part.

    Raises `ValueError` for quotes and brackets that do not close.
    """
    parts: list[str] = []
    depth: list[str] = []
    quoting, begin = "", 0
    closing = {"[": "]", "{": "}", "(": ")"}
    for index, letter in enumerate(text):
        if quoting:
            if letter == quoting and text[index - 1] != "\\":
                quoting = ""
        elif (letter in "'\"" and not text[begin:index].strip()) or (letter in "'\"" and (text[index - 1] in "[{(,: ")):
            quoting = letter
        elif letter in closing:
            depth.append(closing[letter])
        elif depth and letter == depth[-1]:
            depth.pop()
        elif letter == at and not depth and len(parts) != most:
            parts.append(text[begin:index])
            begin = index + 1
    if quoting or depth:
        raise ValueError(f"{text!r} lacks a closing {quoting or depth[-1]}")
    return [*parts, text[begin:]]


def quote(text: str) -> str:
    """Text as Hydra reads it as text: in single quotes where that is needed."""
    if _SAFE.fullmatch(text) and text.casefold() not in (*_CONSTANTS, "inf", "nan"):
        return text
    # A backslash counts as an escape only before a quote, so those at such places are doubled.
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    escaped = re.sub(r"(\\+)$", lambda found: found[1] * 2, escaped)
    return f"'{escaped}'"


def unquoted(text: str) -> str:
    """Text without the quotes around it."""
    if not _is_quoted(text):
        return text
    return re.sub(r"(\\*)\\" + text[0], lambda found: found[1][: len(found[1]) // 2] + text[0], text[1:-1])


def _is_quoted(text: str) -> bool:
    """Whether one pair of quotes encloses the whole."""
    return len(text) > 1 and bool(re.fullmatch(r"'([^'\\]|\\.)*'|\"([^\"\\]|\\.)*\"", text, re.DOTALL))
