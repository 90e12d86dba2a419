"""The start of a command: Hydra composes its config, and bad input ends with one line of error."""

from __future__ import annotations

import errno
import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from foundation.command_line import prepared
from foundation.config import config_dir, plain, typed
from foundation.errors import UserError
from foundation.help import help_text, known_options
from foundation.interrupts import ending_signals
from foundation.output import lasting_output
from foundation.schema import Schemas, build, closest
from foundation.text_yaml import read_with
from foundation.verbosity import show_details

# Errors of the environment that a person can correct; any other OSError is a bug and keeps its stack trace.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REPLACED = ("data.sources",)  # a mapping whose given value is the whole
_CORRECTABLE = {*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def entry(
    config_name: str, schemas: Schemas | None = None, rewrite: Callable[[list[str]], list[str]] | None = None
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make `task(config)` a command: `hydra.main` on `conf/<config_name>.yaml` with one-line errors.

    `schemas` has the dataclasses of the groups, '' for the options outside them: the config is checked by them before
    the task runs, and what is text by its type stays text (see `foundation.command_line`). With several dataclasses for
    a group the task checks it. `rewrite` may change the arguments before that. Relative paths count from the folder in
    which the command was started, also with `hydra.job.chdir=true`. `CNN_TRACE=1` in the environment shows the stack
    trace behind an error's line.
    """
    types: Schemas = schemas or {}

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def command() -> None:
            with lasting_output(), ending_signals():
                run()

        def run() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises errors instead of printing them
            failures: list[Exception] = []

            def guarded(config: DictConfig) -> Any:
                try:
                    os.chdir(HydraConfig.get().runtime.cwd)
                    show_details(plain(HydraConfig.get().verbose))
                    _check(config, types)
                    return task(config)
                except Exception as error:
                    # Hydra would print the command line above our message. In a sweep that line is useful, because it
                    # names the job that failed, and the launcher needs the exception.
                    if HydraConfig.get().mode == RunMode.MULTIRUN:
                        raise
                    failures.append(error)
                    return None

            main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(guarded)
            try:
                if {"--help", "-h"} & set(sys.argv[1:]):
                    print(help_text(config_name, sys.argv[1:]))
                    return
                read_with(types)
                if rewrite is not None:
                    sys.argv[1:] = rewrite(sys.argv[1:])
                sys.argv[1:] = prepared(sys.argv[1:], types, _REPLACED)
                main()
                if failures:
                    raise failures[0]
            except KeyboardInterrupt as stop:
                sys.exit(128 + getattr(stop, "signal", signal.SIGINT))
            except Exception as error:
                line = explain(error, config_name)
                if line is None or os.environ.get("CNN_TRACE"):
                    raise
                print(f"error: {line}", file=sys.stderr)
                sys.exit(2)

        return command

    return decorate


def _check(config: DictConfig, schemas: Schemas) -> None:
    """Raise `UserError` for a group or an option outside the groups that its dataclass refuses."""
    for group, (schema, *others) in schemas.items():
        if group and not others:
            typed(config, group, schema)
    for schema in schemas.get("", ()):
        of_groups = {name for name in map(str, config) if name in schemas or (config_dir() / name).is_dir()}
        build(schema, {name: plain(config[name]) for name in map(str, config) if name not in of_groups}, "")


def explain(error: BaseException, config_name: str | None = None) -> str | None:  # noqa: PLR0911 - a kind each
    """One line for an error that the person can correct, or None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if not equals:
            return f"{error.override!r} is no option: write KEY=VALUE, or see --help"
        return (
            f"{error.override!r} cannot be read as KEY=VALUE: a value with quotes, brackets, accents, commas or '=' "
            f"stands in quotes of its own inside those of the shell: \"{key}='{value}'\""
        )
    if isinstance(error, ValueError) and "Config group override must be a string" in str(
        error
    ):  # Hydra's, of GROUP=null
        return "a config group needs the name of one of its files, GROUP=NAME; --help lists them"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_composition(" ".join(str(error).split()), config_name)
    if (short := _short_of_memory(error)) is not None:
        what = f" ({' '.join(str(short).split())})" if str(short) else ""
        return f"there is not enough memory{what}: smaller batches or images need less, or more memory must be allowed"
    if isinstance(error, OSError) and error.errno in _CORRECTABLE:
        where = f"{error.filename}: " if error.filename else ""
        note = "; no partial file was left" if error.errno in _FULL else ""
        return f"{where}{os.strerror(error.errno)}{note}"
    return None


def _short_of_memory(error: BaseException) -> BaseException | None:
    """The error itself, or one that led to it, which says that there is no memory for an array or for a library."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, MemoryError) or re.search("failed to map segment|annot allocate memory", str(found)):
            return found
        found = found.__cause__ or found.__context__
    return None


def _explain_composition(text: str, config_name: str | None) -> str:
    """A message of Hydra or OmegaConf in terms of the command line."""
    # Hydra appends its search path and OmegaConf the Python type, which do not help the person.
    text = re.split(r" Config search path:| object_type=| Set the environment variable", text)[0]
    if unknown := re.search(r"Could not find '([\w/]+)/([^/']+)' Available options in '[^']+': (.*)$", text):
        group, name, choices = unknown.groups()
        near = closest(name, choices.split())
        meant = f"did you mean '{near}'? All: " if near else "choose one of: "
        return f"unknown {group} '{name}'; {meant}{', '.join(choices.split())}"
    if wrong_key := re.search(
        r"Could not override '([^']+)'|Key '\S+' is not in struct full_key: (\S+)|group '([^']+)' does not exist",
        text,
    ):
        name = next(filter(None, wrong_key.groups()))
        near = _nearest_option(name, config_name)
        if near == name:
            group, _, rest = name.partition(".")
            return f"the chosen {group} has no option '{rest}', unlike others of conf/{group}; --help lists its own"
        hint = f"did you mean '{near}'? " if near else ""
        return f"there is no option '{name}'; {hint}--help explains every option, --cfg job prints their values"
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{missing.group(1)}=... is missing: give it on the command line"
    if ambiguous := re.search(r"Ambiguous value for argument '(.*?)' 1\. To use it as a list", text):
        key, _, value = ambiguous[1].partition("=")
        return f"{key}: {value!r} is several values: a list is {key}=[{value}], and several runs need -m"
    return text


def _nearest_option(name: str, config_name: str | None) -> str | None:
    """The option that was probably meant: one of a similar name, or of the same name in another group."""
    known = [] if config_name is None else known_options(config_name)
    if (near := closest(name, known)) is not None:
        return near
    last = name.rpartition(".")[2]
    by_last = {option.rpartition(".")[2]: option for option in known}
    return by_last.get(closest(last, by_last) or "")
