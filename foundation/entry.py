"""The start of a command: Hydra composes its config, and bad input ends with one line of error."""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from foundation.config import config_dir
from foundation.errors import UserError
from foundation.output import lasting_output

# Errors of the environment that a person can correct; any other OSError is a bug and keeps its stack trace.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CORRECTABLE = {*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def entry(
    config_name: str, rewrite: Callable[[list[str]], list[str]] | None = None
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make `task(config)` a command: `hydra.main` on `conf/<config_name>.yaml` with one-line errors.

    `rewrite` may change the command line's arguments before Hydra reads them. `CNN_TRACE=1` in the environment
    shows the stack trace behind such a line.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def command() -> None:
            with lasting_output():
                run()

        def run() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises errors instead of printing them
            failures: list[Exception] = []

            def guarded(config: DictConfig) -> Any:
                try:
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
                if rewrite is not None:
                    sys.argv[1:] = rewrite(sys.argv[1:])
                main()
                if failures:
                    raise failures[0]
            except KeyboardInterrupt:
                sys.exit(130)
            except Exception as error:
                line = explain(error)
                if line is None or os.environ.get("CNN_TRACE"):
                    raise
                print(f"error: {line}", file=sys.stderr)
                sys.exit(2)

        return command

    return decorate


def explain(error: BaseException) -> str | None:
    """One line for an error that the person can correct, or None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_composition(" ".join(str(error).split()))
    if isinstance(error, OSError) and error.errno in _CORRECTABLE:
        where = f"{error.filename}: " if error.filename else ""
        note = "; no partial file was left" if error.errno in _FULL else ""
        return f"{where}{os.strerror(error.errno)}{note}"
    return None


def _explain_composition(text: str) -> str:
    """A message of Hydra or OmegaConf in terms of the command line."""
    # Hydra appends its search path and OmegaConf the Python type, which do not help the person.
    text = re.split(r" Config search path:| object_type=| Set the environment variable", text)[0]
    if unknown := re.search(r"Could not find '([\w/]+)/([^/']+)' Available options in '[^']+': (.*)$", text):
        group, name, choices = unknown.groups()
        return f"unknown {group} '{name}'; choose one of: {', '.join(choices.split())}"
    if wrong_key := re.search(r"Could not override '([^']+)'|Key '\S+' is not in struct full_key: (\S+)", text):
        name = wrong_key.group(1) or wrong_key.group(2)
        return f"there is no option '{name}'; --help lists the groups and --cfg job every option with its value"
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{missing.group(1)}=... is missing: give it on the command line"
    return text
