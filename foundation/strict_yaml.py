"""YAML that may be from a stranger, as plain data: no tags, no anchors, of a bounded size and depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # the parser that OmegaConf uses
from omegaconf._utils import get_yaml_loader

from foundation.errors import UserError

LARGEST = 1 << 20  # bytes; the config of a run has 5,000, and the names of 20,000 classes fit
DEEPEST = 50  # mappings and lists within each other


def read_yaml(path: Path, largest: int = LARGEST, deepest: int = DEEPEST) -> Any:
    """The mappings, lists, text, numbers, booleans and nulls of a YAML file. Numbers are read as OmegaConf reads them.

    Raises `UserError` naming the file if it is missing, no file, larger than `largest` bytes, nested deeper than
    `deepest`, not UTF-8 or not YAML, and for a tag or an anchor: they can name Python's objects, and expand without
    end.
    """
    text = checked_text(path, largest, deepest)
    try:
        return yaml.load(text, get_yaml_loader())  # a subclass of the safe loader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not the YAML of plain values: {error}") from error


def checked_text(path: Path, largest: int = LARGEST, deepest: int = DEEPEST) -> str:
    """The text of such a file, for another reader. Raises the same errors, but for values that cannot be built."""
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} is {'no file' if path.exists() else 'missing'}")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise UserError(f"{path} has more than {largest:,} bytes, the most that is read of such a file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}") from error
    try:
        _check(text, path, deepest)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not the YAML of plain values: {error}") from error
    return text


def texts(node: Any) -> Iterator[str]:
    """Every text in the data, keys included."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, item in node.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(node, list):
        for item in node:
            yield from texts(item)


def _check(text: str, path: Path, deepest: int) -> None:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        where = f"{path}, line {event.start_mark.line + 1}"
        if getattr(event, "anchor", None) is not None:
            raise UserError(f"{where}: anchors and aliases (& and *) are not read")
        if getattr(event, "tag", None) is not None:
            raise UserError(f"{where}: the tag {event.tag} is not read: a tag can name a Python object")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > deepest:
            raise UserError(f"{where}: nested deeper than {deepest} levels, the most that is read")
