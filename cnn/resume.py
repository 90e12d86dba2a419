"""`resume=FOLDER`: composes the config of that run again. Also refuses new runs in a folder that has a run.

The folder may be from an untrusted source, and Hydra's command line can set environment variables, add config folders
and name classes to call. So recorded overrides are accepted only if they set options or select configs of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # the parser that OmegaConf uses
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from cnn.training.checkpoint import LAST
from foundation.command_line import quote, unquoted
from foundation.config import config_dir
from foundation.errors import UserError

_METRICS = "metrics.json"  # written last: if it exists, the run is finished


def run_arguments(arguments: list[str]) -> list[str]:
    """The command line for Hydra: `arguments`, or for `resume=FOLDER` the recorded overrides of that run plus those.

    This runs before Hydra, which would overwrite the recorded options in that folder. Raises `UserError` if FOLDER is
    not a run, has no checkpoint or is finished, if a recorded line could do more than set an option or select a config
    of this project, and if the folder of a new run already has a run.
    """
    given = dict(argument.lstrip("+~").partition("=")[::2] for argument in arguments if "=" in argument)
    folder = unquoted(given.get("resume", ""))
    if folder in ("", "null"):
        target = Path(unquoted(given.get("hydra.run.dir", "")))
        if given.get("hydra.run.dir") and any((target / name).exists() for name in (LAST, _METRICS)):
            raise UserError(f"hydra.run.dir={target} holds a run already: choose another folder, or resume={target}")
        return arguments
    run = Path(folder)
    recorded = run / ".hydra" / "overrides.yaml"
    if not recorded.is_file():
        raise UserError(f"resume={folder}: there is no run in this folder ({recorded} is missing)")
    if (run / _METRICS).exists():
        raise UserError(
            f"{folder} is finished and its test split is scored: nothing is left to resume, start a new run"
        )
    if not (run / LAST).exists():
        raise UserError(f"resume={folder}: the run stopped before its first checkpoint; start it again")
    replaced = {*given, "hydra.run.dir"}
    earlier = _recorded_overrides(recorded)
    kept = [override for override in earlier if override.lstrip("+~").partition("=")[0] not in replaced]
    own = [argument for argument in arguments if not argument.startswith(("resume=", "hydra.run.dir="))]
    # No output_subdir: the recorded options of the run stay unchanged.
    place = quote(folder)
    return [*kept, *own, f"resume={place}", f"hydra.run.dir={place}", "hydra.output_subdir=null"]


def _recorded_overrides(record: Path) -> list[str]:
    """The lines of a run's `overrides.yaml`. Raises `UserError` for the first line that is not accepted."""
    try:
        lines = yaml.safe_load(record.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise UserError(f"{record} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(lines, list):
        raise UserError(f"{record} is not a list of overrides")
    for line in lines:
        if reason := _objection(line):
            raise UserError(f"{record}: the override {line!r} {reason}; if you trust it, begin a new run with it")
    return lines


def _objection(line: Any) -> str | None:
    """The reason why `line` is refused, or None. Hydra's parser reads it; nothing is composed."""
    if not isinstance(line, str):
        return "is no text"
    if line.startswith("-"):
        return "is an option of Hydra's command line"
    try:
        override = OverridesParser.create().parse_override(line)
    except (HydraException, RecursionError):
        return "is no override"
    group = override.key_or_group
    names = re.split(r"[^\w-]+", f"{group}@{override.package or ''}")
    texts = list(_texts(override.value()))
    of_ours = all(re.fullmatch(r"\w[\w.-]*", text) and ".." not in text for text in texts)
    objections = {
        "configures Hydra itself": "hydra" in (name.casefold() for name in names),
        "names no option": not group,
        "is a sweep": override.is_sweep_override(),
        "calls a resolver": any(":" in text.partition("${")[2] for text in texts),
        f"chooses a config from outside conf/{group}": _chooses_config(override) and not of_ours,
    }
    return next((reason for reason, applies in objections.items() if applies), None)


def _chooses_config(override: Override) -> bool:
    """Whether the override selects files of a config group (`model=lenet`) instead of setting a value."""
    group = override.key_or_group
    return not isinstance(override.value(), dict) and ("/" in group or (config_dir() / group).is_dir())


def _texts(value: Any) -> Iterator[str]:
    """Every string in a parsed value, nested keys and items included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _texts(list(pair))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
