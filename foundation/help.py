"""`--help`: the options of a command as its YAML files list and explain them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # the parser that OmegaConf uses

from foundation.config import choices, config_dir

_PLUGINS = ("hydra/sweeper", "hydra/launcher")  # groups of Hydra in which this project has files of its own


def help_text(config_name: str, arguments: Sequence[str]) -> str:
    """The help of a command: its header, how options are given, and every file that its default config is made of.

    `GROUP=NAME` among the arguments shows that file of the group instead of the default one.
    """
    path = config_dir() / f"{config_name}.yaml"
    own = path.read_text(encoding="utf-8")
    content = yaml.safe_load(own)
    given = dict(argument.partition("=")[::2] for argument in arguments if "=" in argument)
    lines = [content["hydra"]["help"]["header"].strip(), ""]
    lines += ["Options are KEY=VALUE, as the files below list them: trainer.epochs=3 'data.label_map={joy: happy}'."]
    lines += [
        "GROUP=NAME selects a file of conf/GROUP, and its options. --cfg job prints the values of all options.",
        "",
    ]
    lines += [_options_of(own), ""]
    for group, default in _groups(content.get("defaults", [])):
        name = given.get(group, default)
        known = choices(group)
        lines.append(f"{group}={name or 'NAME'}   ({', '.join(known)})")
        for shown in _files(group, name):
            if shown != name:
                lines.append(f"    # --- {group}={shown}, on which it is based, or which explains its keys:")
            lines += [f"    {line}".rstrip() for line in _content(config_dir() / group / f"{shown}.yaml")]
        lines.append("")
    lines += ["Options of Hydra itself: -m runs a sweep (seed=0,1,2), --hydra-help lists the others."]
    if any("hydra/sweeper" in str(entry) for entry in content.get("defaults", [])):
        lines += [f"{group}=NAME   ({', '.join(choices(group))}): see conf/{group}/NAME.yaml" for group in _PLUGINS]
    return "\n".join(lines)


def _options_of(text: str) -> str:
    """The file of the command without what configures Hydra."""
    text = re.sub(r"^defaults:.*?(?=^\S)", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^hydra:.*?(?=^\S|\Z)", "", text, flags=re.MULTILINE | re.DOTALL).strip()


def _groups(defaults: Sequence[object]) -> list[tuple[str, str | None]]:
    """The groups in the defaults of a config, with the name that is chosen."""
    pairs = [item for entry in defaults if isinstance(entry, dict) for item in entry.items()]
    return [(str(group), name) for group, name in pairs if not str(group).startswith("override")]


def _files(group: str, name: str | None) -> list[str]:
    """The file, and those of the group that it is based on or refers to, each once."""
    if name is None or name not in choices(group):
        return []
    text = (config_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")
    based = [entry for entry in (yaml.safe_load(text) or {}).get("defaults", []) if isinstance(entry, str)]
    explained = re.findall(r"(\w+)\.yaml explains", text)
    found = [name]
    for other in (*based, *explained):
        found += [each for each in _files(group, other) if each not in found]
    return found


def _content(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^defaults:.*?(?=^\S)", "", text, flags=re.MULTILINE | re.DOTALL).strip().splitlines()


def known_options(config_name: str) -> list[str]:
    """Every option that the files of a command's groups name, with its group: `trainer.epochs`."""
    content = yaml.safe_load((config_dir() / f"{config_name}.yaml").read_text(encoding="utf-8"))
    found = _keys({key: value for key, value in content.items() if key not in ("defaults", "hydra")}, "")
    for group, _ in _groups(content.get("defaults", [])):
        found.append(group)
        for name in choices(group):
            text = (config_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")
            options = {key: value for key, value in (yaml.safe_load(text) or {}).items() if key != "defaults"}
            found += _keys(options, "" if "@package _global_" in text else f"{group}.")
    for group in _PLUGINS:
        for name in choices(group):
            options = yaml.safe_load((config_dir() / group / f"{name}.yaml").read_text(encoding="utf-8"))
            del options["_target_"]
            found += _keys(options, f"{group.replace('/', '.')}.")
    return sorted(set(found))


def _keys(content: dict[str, object], prefix: str) -> list[str]:
    found = []
    for key, value in content.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += _keys(value, f"{prefix}{key}.")
    return found
