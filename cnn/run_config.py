"""The composed config that a run has recorded in its folder, read as data.

The folder may be from a stranger. Nothing is composed again: no override, default list, search path or option of Hydra
is read, no resolver is called, and only the groups and options of training exist.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cnn.assembly import GROUPS, RunSettings, optimizer_settings
from cnn.training.schedules import ScheduleSettings
from foundation.config import typed
from foundation.errors import UserError
from foundation.schema import build
from foundation.strict_yaml import read_yaml, texts

# Runs of earlier versions recorded references of the config to itself; those of a number or text are still followed.
_REFERENCE = re.compile(r"\$\{\.*[A-Za-z_][\w-]*(\.[\w-]+|\[\d+\])*\}")
LOGGER = "logger"  # a group that is not read: the person says where a run is logged to, not its folder
_MODEL = "model"  # the group without a dataclass: `cnn.models.builder` checks it
_GONE = {"backend": ("compiled",)}  # options of earlier versions that change no result
_FILLED = ("data", "merge", "augment", "trainer", "backend")  # groups whose missing options have their default


def config_path(folder: Path) -> Path:
    """The file with the config of the run in `folder`; of an exported folder with the groups `data` and `merge`."""
    shared = folder / "config.yaml"
    return shared if shared.is_file() else folder / ".hydra" / "config.yaml"


def read_run_config(folder: Path, groups: Sequence[str] | None = None) -> DictConfig:
    """The recorded config, its groups checked by their dataclasses; without options that did not exist: the defaults.

    With `groups` only these are read and checked, for a run of another version. Raises `UserError` naming the file
    and the key for whatever is not the config of a run, and for text that OmegaConf would replace (`${...}`), except
    references to a single value of the config itself.
    """
    path = config_path(folder)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not the config of a run, but {type(content).__name__}")
    try:
        plain = _without_references(content)
        chosen = plain if groups is None else {name: plain[name] for name in groups if name in plain}
        return checked_config(chosen, groups)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def checked_config(content: dict[str, Any], groups: Sequence[str] | None = None) -> DictConfig:
    """The config of a run from plain values. Raises `UserError` naming the key for what is not in one."""
    wanted = (*GROUPS, _MODEL) if groups is None else tuple(groups)
    for name in wanted:
        if not isinstance(content.get(name), dict):
            raise UserError(f"it has no group '{name}': mappings of options are {', '.join(wanted)}")
    settings = {field.name for field in fields(RunSettings)}
    known = {*wanted, *(settings if groups is None else ())}
    for name in content:
        if name not in (*known, LOGGER):
            raise UserError(f"there is no group or option {name!r} of a run; there are {', '.join(sorted(known))}")
    present = {
        name: {key: value for key, value in content[name].items() if key not in _GONE.get(name, ())} for name in wanted
    }
    ready = present | {name: asdict(build(GROUPS[name][0], present[name], name)) for name in wanted if name in _FILLED}
    if groups is None:
        ready |= asdict(build(RunSettings, {name: content[name] for name in settings if name in content}, ""))
    try:
        config: DictConfig = OmegaConf.create(ready, flags={"struct": True})
    except OmegaConfBaseException as error:
        raise UserError(str(error)) from error
    if groups is None:
        optimizer_settings(config)
        typed(config, "schedule", ScheduleSettings)
    return config


def _without_references(content: dict[str, Any]) -> dict[str, Any]:
    """The same with the value in place of each reference."""
    for text in texts(content):
        if "${" in text and not _REFERENCE.fullmatch(text):
            raise UserError(f"the value {text!r} would be computed; a recorded config has values alone")
    if not any("${" in text for text in texts(content)):
        return content
    try:
        return _resolved(content, OmegaConf.create(content))
    except (OmegaConfBaseException, RecursionError) as error:
        raise UserError(f"a reference cannot be followed: {str(error).splitlines()[0]}") from error


def _resolved(node: Any, config: Any) -> Any:
    """`node` with the values of `config`, which is the same as OmegaConf reads it."""
    if isinstance(node, dict):
        return {key: _value(item, config, key) for key, item in node.items()}
    return [_value(item, config, index) for index, item in enumerate(node)]


def _value(item: Any, parent: Any, key: Any) -> Any:
    if isinstance(item, dict | list):
        return _resolved(item, parent[key])
    if not isinstance(item, str) or "${" not in item:
        return item
    value = parent[key]
    if OmegaConf.is_config(value):  # copies of copies would have no end
        raise UserError(f"{item} refers to several values; only references to one are followed")
    return value
