"""YAML files of options: a scalar stays text where the option is text.

YAML reads `010` as the number 8, `yes` as true and `1e3` as 1000.0. A class may have such a name, so the type of the
option decides, before YAML does.
"""

from __future__ import annotations

import functools
from dataclasses import is_dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, get_args, get_origin

import yaml  # type: ignore[import-untyped]  # the parser that OmegaConf uses
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from foundation.config import config_dir
from foundation.foreign_config import check_foreign
from foundation.schema import Schemas, hint_at, member, without_none

_TEXT, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_EXACT = {"true", "false", "True", "False", "null", "~", ""}  # constants that are no text


def read_with(schemas: Schemas) -> None:
    """Hydra's files are read with these types from now on."""
    Plugins.instance()  # registers the source that is replaced here
    TextSource.schemas = schemas
    SourcesRegistry.instance().types["file"] = TextSource


class TextSource(FileConfigSource):
    """A folder of configs, whose text is read by the types of the options."""

    schemas: ClassVar[Schemas] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        """The config in a file of the folder. Raises `UserError` for one of `--config-dir` that could run a program."""
        file = Path(self.path, self._normalize_file_name(config_path))
        if Path(self.path).resolve() != config_dir():
            check_foreign(file, config_path)
        if not file.is_file():
            return super().load_config(config_path)  # Hydra says that it is missing
        text = file.read_text(encoding="utf-8")
        header = self._get_header_dict(text[:512])
        parts = PurePosixPath(config_path).parts
        group = parts[:1] if len(parts) > 1 and header.get("package") != "_global_" else ()
        typed = not group or group[0] in self.schemas
        data = _parsed(text, tuple(self.schemas.items()) if typed else (), group)
        return ConfigResult(self.provider, f"{self.scheme()}://{self.path}", OmegaConf.create(data), header)


@functools.lru_cache(maxsize=256)
def _parsed(text: str, schemas: tuple[tuple[str, tuple[type, ...]], ...], group: tuple[str, ...]) -> Any:
    """`load`, once for each text: Hydra composes a config twice, and parsing takes a third of the time."""
    return load(text, dict(schemas), group)


def load(text: str, schemas: Schemas, group: tuple[str, ...] = ()) -> Any:
    """The content of a YAML text, whose place in the config is `group`, () for the top. Raises `yaml.YAMLError`."""
    loader = get_yaml_loader()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _retag(node, schemas, group)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _retag(node: yaml.Node, schemas: Schemas, path: tuple[str, ...]) -> None:
    """Walk down to the options."""
    hint = hint_at(schemas, path)
    # A group may have several types, one for each of its files: `hint_at` finds the one that has an option.
    if hint is not None and not (is_dataclass(hint) and isinstance(node, yaml.MappingNode)):
        _as_typed(node, hint)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _retag(value, schemas, (*path, str(key.value)))


def _as_typed(node: yaml.Node, hint: Any) -> None:
    hint, optional = without_none(hint)
    origin = get_origin(hint)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            key.tag = _TEXT
            _as_typed(value, member(hint, key.value) or Any)
    elif isinstance(node, yaml.SequenceNode):
        item = get_args(hint)[0] if origin is list else Any
        for value in node.value:
            _as_typed(value, item)
    elif node.style is None and not (optional and node.tag == _NULL) and "${" not in node.value:
        odd = node.tag in (_NULL, "tag:yaml.org,2002:bool") and node.value not in _EXACT
        if hint is str or (hint is Any and (odd or not _prints_as_written(node))):
            node.tag = _TEXT


def _prints_as_written(node: yaml.Node) -> bool:
    """Whether a number is printed as it was written."""
    kind = {"tag:yaml.org,2002:int": int, "tag:yaml.org,2002:float": float}.get(node.tag)
    try:
        return kind is None or str(kind(node.value)) == node.value
    except ValueError:
        return False
