"""The configs of `--config-dir`, which may be a stranger's: they set options, and configure nothing that runs.

Hydra's own part of a config can set environment variables, name classes to call, open files for logs and add further
folders. It is the person's, on the command line; a folder of configs has no more of it than what a sweep varies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from foundation.errors import UserError
from foundation.strict_yaml import read_yaml, texts

_PACKAGE = re.compile(r"^\s*#\s*@package\s*(.*)$", re.MULTILINE)


def check_foreign(path: Path, config: str) -> None:
    """Raise `UserError` for a config that could do more than set options; `config` is its place, as Hydra names it."""
    content = read_yaml(path)
    package = " ".join(_PACKAGE.findall(path.read_text("utf-8")))
    groups = [part.casefold() for part in PurePosixPath(config).parts[:-1]]
    if "hydra" in groups or "hydra" in package.casefold():
        raise UserError(f"{path} configures Hydra, which could run programs: {_INSTEAD}")
    if content is None:
        return
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a mapping of options")
    defaults = content.get("defaults") or []
    if not isinstance(defaults, list):
        raise UserError(f"{path}: defaults is no list")
    for entry in defaults:
        for text in texts(entry):
            if "hydra" in text.casefold() or ".." in text or ":" in text:
                raise UserError(f"{path}: its defaults have {text!r}; they may name configs of the groups alone")
    for place, key in _keys(content):
        if key in ("_target_", "_args_", "_partial_"):
            raise UserError(f"{path}: {'.'.join((*place, key))} names something to call; configs set options alone")
    own = content.get("hydra", {})
    if own != {} and not (
        isinstance(own, dict) and set(own) == {"sweeper"} and isinstance(own["sweeper"], dict)
        and set(own["sweeper"]) == {"params"}
    ):  # fmt: skip
        raise UserError(f"{path}: hydra has more than sweeper.params, and could run programs: {_INSTEAD}")


_INSTEAD = "give options of Hydra on the command line"


def _keys(node: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every key in the data with the keys above it."""
    if isinstance(node, dict):
        for key, item in node.items():
            yield place, str(key)
            yield from _keys(item, (*place, str(key)))
    elif isinstance(node, list):
        for item in node:
            yield from _keys(item, place)
