"""`resume=FOLDER`: continue an interrupted run. Also refuses new runs in a folder that has a run.

Hydra composes only what the person has typed. The options of the run are those that it recorded, read as data by
`cnn.run_config`, and the typed ones take their places: the folder may be from a stranger, and what is on Hydra's
command line can set environment variables, add config folders and name classes to call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cnn.assembly import GROUPS
from cnn.distributed.world import world
from cnn.reporting.sweeps import METRICS
from cnn.run_config import LOGGER, checked_config, config_path, read_run_config
from cnn.training.checkpoint import LAST
from foundation.command_line import quote, unquoted
from foundation.config import config_dir, plain
from foundation.errors import UserError
from foundation.files import write_text
from foundation.run_lock import take
from foundation.strict_yaml import read_yaml


def run_arguments(arguments: list[str]) -> list[str]:
    """The command line for Hydra: `arguments`, with `resume=FOLDER` those in a form that any config takes.

    Raises `UserError` if FOLDER is not a run, has no checkpoint or is finished, for an argument that would choose
    another config, and if the folder of a new run already has a run.
    """
    if (here := world()).size > 1 and {"-m", "--multirun"} & set(arguments):
        raise UserError(
            f"mpiexec started {here.size} processes, which train one network: run a sweep without it; a launcher runs "
            "jobs side by side (docs/search.md)"
        )
    if here.rank:
        return others_arguments(arguments)
    given = dict(argument.lstrip("+~").partition("=")[::2] for argument in arguments if "=" in argument)
    folder = unquoted(given.get("resume", ""))
    if folder in ("", "null"):
        target = Path(unquoted(given.get("hydra.run.dir", "")))
        if given.get("hydra.run.dir"):
            _refuse_a_run(target)
        if given.get("hydra.run.dir") and "${" not in str(target):
            take(target)
            _refuse_a_run(target)  # of a process that has ended since
        return arguments
    run = Path(folder)
    if "${" in folder:  # Hydra would compute a part of its name
        raise UserError(f"resume={folder}: give the folder another name, without ${{")
    if not config_path(run).exists():
        raise UserError(f"resume={folder}: there is no run in this folder ({config_path(run)} is missing)")
    take(run)
    if (run / METRICS).exists():
        raise UserError(
            f"{folder} is finished and its test split is scored: nothing is left to resume, start a new run"
        )
    if not (run / LAST).exists():
        raise UserError(f"resume={folder}: the run stopped before its first checkpoint; start it again")
    return _resuming(arguments, folder)


def _refuse_a_run(target: Path) -> None:
    if any((target / name).exists() for name in (LAST, METRICS)):
        raise UserError(f"hydra.run.dir={target} holds a run already: choose another folder, or resume={target}")


def others_arguments(arguments: list[str]) -> list[str]:
    """The command line of a process of another rank than 0: it has no folder of its own, and checks and writes none."""
    own = [argument for argument in arguments if not argument.startswith(("hydra.run.dir=", "hydra.output_subdir="))]
    given = dict(argument.partition("=")[::2] for argument in own)
    if (folder := unquoted(given.get("resume", ""))) not in ("", "null"):
        own = [argument for argument in _resuming(own, folder) if not argument.startswith("hydra.")]
    return [*own, "hydra.run.dir=.", "hydra.output_subdir=null"]


def _resuming(arguments: list[str], folder: str) -> list[str]:
    own = [_option(argument) for argument in arguments if not argument.startswith(("resume=", "hydra.run.dir="))]
    # No output_subdir: the recorded options of the run stay unchanged.
    place = quote(folder)
    return [*own, f"resume={place}", f"hydra.run.dir={place}", "hydra.output_subdir=null"]


def resumed_config(composed: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config of the run in `composed.resume`, with the options and groups that the typed `overrides` name.

    Raises `UserError` for a folder without the config of a run.
    """
    folder = Path(composed.resume)
    config = read_run_config(folder)
    content: Any = OmegaConf.to_container(config)
    for override in overrides:
        *above, name = override.lstrip("+").partition("=")[0].split(".")
        if LOGGER in (*above, name)[:1]:
            continue  # not an option of the run: who follows it is said anew each time
        place, value = content, plain(composed)
        for key in above:
            place, value = place.setdefault(key, {}), value.get(key)
            if not isinstance(place, dict) or not isinstance(value, dict):
                raise UserError(f"{override}: the run has no such option")
        place[name] = value.get(name)
    return checked_config(content)


def record_length(folder: Path, config: DictConfig) -> None:
    """Record the length of a run that goes on for another number of epochs, for the next time that it is resumed."""
    path = config_path(folder)
    content = read_yaml(path)
    trainer = content.get("trainer") if isinstance(content, dict) else None
    if isinstance(trainer, dict) and trainer.get("epochs") != config.trainer.epochs:
        trainer["epochs"] = config.trainer.epochs
        write_text(path, OmegaConf.to_yaml(OmegaConf.create(content)))


def _option(argument: str) -> str:
    """An argument of the person; with `++` for an option, because the run's config may be of other choices.

    Raises `UserError` for one that does more than set an option or choose a config of a group.
    """
    key = argument.lstrip("+~").partition("=")[0]
    if argument in ("-m", "--multirun"):
        raise UserError(f"resume=... goes on with one run: leave out {argument}")
    if argument.startswith("-") or key.startswith(("hydra.", "hydra/")):
        return argument
    is_group = key not in (*GROUPS, "model", LOGGER) and (config_dir() / key).is_dir()
    if argument.startswith("~") or "/" in key or "@" in key or is_group:
        raise UserError(f"{argument}: a run is resumed with its own options; with resume=... give options by name")
    return f"++{key}={argument.partition('=')[2]}" if "." in key and "=" in argument else argument.lstrip("+")
