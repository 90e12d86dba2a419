"""The configs of this repository without Hydra and OmegaConf, for machines on which these are not installed.

Reads the part of YAML that `conf/` uses: mappings, lists, the same in one line, strings, numbers, comments. Composes
groups and an experiment as Hydra does, without options of a command line. Tests compare the results with OmegaConf's
and Hydra's for all files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from foundation.errors import UserError

Lines = list[tuple[int, str]]  # indentation and content

_INTEGER = re.compile(r"[-+]?\d+")
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?")
_REFERENCE = re.compile(r"\$\{([\w.\[\]]+)\}")
_CONSTANTS = {"": None, "null": None, "~": None, "true": True, "false": False}


def config_dir() -> Path:
    """The folder of configs: `foundation/conf` in an installed wheel, the top-level `conf` in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "conf"
    return installed if installed.is_dir() else here.parent / "conf"


def read_group(group: str, name: str, **overrides: Any) -> dict[str, Any]:
    """The file `conf/<group>/<name>.yaml` with other values for some keys, references such as `${model.l2}` resolved.

    Raises `UserError` naming the choices for an unknown name.
    """
    return resolved({group: _read(group, name) | overrides})[group]


def compose(
    experiment: str | None = None, more: Mapping[str, str | dict[str, Any]] = MappingProxyType({}), **choices: str
) -> dict[str, Any]:
    """The groups of `choices` (such as `optimizer="adam"`) by name, and what `conf/experiment` changes in them.

    An experiment also replaces the choices that it overrides. `more` changes further options of groups, or names
    another file for a group, without what the experiment changes in it.
    """
    changes, defaults = ({}, []) if experiment is None else _experiment(experiment)
    for entry in defaults:
        ((key, name),) = entry.items()
        group = key.removeprefix("override /")
        if group in choices:
            choices[group] = name
    for group, value in more.items():
        if isinstance(value, str):
            choices[group] = value
        changes[group] = {} if isinstance(value, str) else _merged(changes.get(group, {}), value)
    groups = {group: _merged(_read(group, name), changes.get(group, {})) for group, name in choices.items()}
    return resolved(groups)


def _experiment(name: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """What an experiment changes, and the groups that it overrides; first those of the experiments it begins with."""
    own = _read("experiment", name)
    changes: dict[str, Any] = {}
    overrides: list[dict[str, str]] = []
    for entry in own.pop("defaults", ()):
        if isinstance(entry, dict):
            overrides.append(entry)
        elif entry != "_self_":
            below, others = _experiment(entry)
            changes, overrides = _merged(changes, below), overrides + others
    return _merged(changes, own), overrides


def _read(group: str, name: str) -> dict[str, Any]:
    folder = config_dir() / group
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.yaml")))
        raise UserError(f"unknown {group} '{name}'; choose one of: {known}")
    content = parse(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping")
    return content


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        own = merged.get(key)
        merged[key] = _merged(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
    return merged


def resolved(content: dict[str, Any]) -> dict[str, Any]:
    """`content` with the value in place of every string that is one reference. Raises `UserError` for a wrong one."""

    def value(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: value(each) for key, each in node.items()}
        if isinstance(node, list):
            return [value(each) for each in node]
        if not isinstance(node, str) or "${" not in node:
            return node
        if (found := _REFERENCE.fullmatch(node)) is None:
            raise UserError(f"{node!r} is more than one reference, which needs OmegaConf")
        target: Any = content
        for part in re.findall(r"\w+", found[1]):
            try:
                target = target[int(part) if isinstance(target, list) else part]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise UserError(f"{node} refers to nothing") from error
        return value(target)

    return {key: value(each) for key, each in content.items()}


def parse(text: str) -> Any:
    """A YAML text as mappings, lists, and scalars. Raises `UserError` for what it does not know."""
    lines: Lines = []
    for line in text.splitlines():
        content = _without_comment(line).rstrip()
        if content.strip():
            lines.append((len(content) - len(content.lstrip()), content.strip()))
    if not lines:
        return None
    value = _block(lines, lines[0][0])
    if lines:
        raise UserError(f"YAML that needs OmegaConf: {lines[0][1]!r} is indented unexpectedly")
    return value


def _without_comment(line: str) -> str:
    quote = ""
    for index, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#" and (not index or line[index - 1].isspace()):
            return line[:index]
    return line


def _block(lines: Lines, indent: int) -> Any:
    """The list or mapping whose lines have this indentation, taken out of `lines`."""
    return _list(lines, indent) if lines[0][1].startswith(("- ", "-\n")) or lines[0][1] == "-" else _map(lines, indent)


def _list(lines: Lines, indent: int) -> list[Any]:
    found = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("-"):
        content = lines[0][1][1:].strip()
        if content and _key_of(content) is not None:
            inner = indent + lines[0][1].index(content)
            lines[0] = (inner, content)
            found.append(_map(lines, inner))
        else:
            del lines[0]
            found.append(_flow(content) if content else _nested(lines, indent))
    return found


def _map(lines: Lines, indent: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while lines and lines[0][0] == indent:
        content = lines[0][1]
        if (key := _key_of(content)) is None:
            raise UserError(f"YAML that needs OmegaConf: {content!r}")
        del lines[0]
        value = content[len(key) + 1 :].strip()
        found[key] = _flow(value) if value else _nested(lines, indent, "-")
    return found


def _key_of(content: str) -> str | None:
    """The key of `key: value`, None for anything else."""
    found = re.match(r"[\w/ .-]+(?=:(\s|$))", content)
    return found[0] if found else None


def _nested(lines: Lines, indent: int, same: str = "") -> Any:
    """The value in the lines below; a list may have the indentation of its key."""
    if lines and (lines[0][0] > indent or (same and lines[0][0] == indent and lines[0][1].startswith(same))):
        return _block(lines, lines[0][0])
    return None


def _flow(text: str) -> Any:
    """A value in one line."""
    value, rest = _flow_value(text, "")
    if rest.strip():
        raise UserError(f"YAML that needs OmegaConf: {text!r}")
    return value


def _flow_value(text: str, stops: str) -> tuple[Any, str]:
    """The value at the beginning of `text`, and the text behind it; `stops` end a plain scalar."""
    text = text.lstrip()
    if text[:1] in ("[", "{"):
        return _flow_collection(text)
    if text[:1] in ("'", '"'):
        end = text.index(text[0], 1)
        return text[1:end], text[end + 1 :]
    end = min((index for index, letter in enumerate(text) if letter in stops), default=len(text))
    return _scalar(text[:end].strip()), text[end:]


def _flow_collection(text: str) -> tuple[Any, str]:
    """A list or a mapping in brackets. An entry `key: value` of a list is a mapping."""
    close, rest = ("]" if text[0] == "[" else "}"), text[1:].lstrip()
    items: list[Any] = []
    while not rest.startswith(close):
        if not rest:
            raise UserError(f"YAML that needs OmegaConf: {text!r} does not end in its line")
        pair = re.match(r"([\w/.-]+):\s", rest)
        value, rest = _flow_value(rest[pair.end() :] if pair else rest, f",{close}")
        items.append({pair[1]: value} if pair else value)
        rest = rest.lstrip()
        rest = rest[1:].lstrip() if rest.startswith(",") else rest
    if close == "]":
        return items, rest[1:]
    return {key: value for item in items for key, value in item.items()}, rest[1:]


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
