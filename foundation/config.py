"""The folder of the configs, and config groups as data or dataclasses. Uses OmegaConf, not Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import UserError
from foundation.plain_config import config_dir
from foundation.schema import Schema, build

__all__ = ["choices", "config_dir", "load_choice", "load_group", "plain", "resolved", "typed"]

if TYPE_CHECKING:
    from omegaconf import DictConfig

# OmegaConf is imported where it is used: `import cnn` is also for machines without it.


def typed(config: DictConfig | Mapping[str, Any], group: str, schema: type[Schema]) -> Schema:
    """The config group `group` as the dataclass `schema`, its values checked and converted.

    Raises `UserError` naming the full key for an unknown key, a missing one or a value of the wrong type.
    """
    return build(schema, plain(config[group]) if group in config else None, group)


def plain(node: Any) -> Any:
    """A config node as plain mappings and lists, interpolations resolved. Raises `UserError` if one is wrong."""
    if isinstance(node, dict | list | str | int | float | None):
        return node
    from omegaconf import OmegaConf  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    try:
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error


def choices(group: str) -> list[str]:
    """The names of the files in a config group, such as `model`."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def load_choice(group: str, name: str) -> dict[str, Any]:
    """The group `group` as `conf/<group>/<name>.yaml` gives it. Raises `UserError` naming the choices."""
    if name not in (known := choices(group)):
        raise UserError(f"unknown {group} '{name}'; choose one of: {', '.join(known)}")
    return load_group(config_dir() / group / f"{name}.yaml", group)


def load_group(path: Path, group: str) -> dict[str, Any]:
    """A YAML file as the content of the group `group`, interpolations such as `${model.widths[0]}` resolved.

    Raises `UserError` naming the file if it cannot be read or resolved.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415
    from yaml import YAMLError  # type: ignore[import-untyped]  # noqa: PLC0415  # the parser that OmegaConf uses

    from foundation.strict_yaml import checked_text  # noqa: PLC0415

    try:
        checked_text(path)
        return resolved(OmegaConf.load(path), group)
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def resolved(content: Any, group: str) -> dict[str, Any]:
    """The content of the group `group` as plain mappings and lists, interpolations resolved.

    Raises `UserError` for an interpolation of what is not there, and for what is no mapping.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415
    from omegaconf.errors import OmegaConfBaseException  # noqa: PLC0415

    try:
        container: Any = OmegaConf.to_container(OmegaConf.create({group: content}), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{group}: {error}") from error
    if not isinstance(container[group], dict):
        raise UserError(f"{group} must be a mapping, not {container[group]!r}")
    return {str(key): value for key, value in container[group].items()}
