"""Packages that only some options need, and the command that installs them."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

from foundation.errors import UserError

_ROOT = Path(__file__).resolve().parents[1]


def install_command(extra: str) -> str:
    """The command that installs an extra into the Python that runs now, of a checkout or of an installed wheel.

    Quoted so that bash, PowerShell and cmd take it.
    """
    if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "constraints.txt").is_file():
        where = "" if Path.cwd() == _ROOT else f' (in "{_ROOT}")'
        return f'{_python()} -m pip install -c constraints.txt -e ".[{extra}]"{where}'
    return f'{_python()} -m pip install "cnn-from-scratch[{extra}]"'


def needed(package: str, option: str, extra: str, instead: str = "") -> Any:
    """The package that `option` needs. Raises `UserError`: which extra installs it, or what helps `instead`."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package.partition(".")[0]:
            raise
        also = f"; {instead}" if instead else ""
        raise UserError(f"{option} needs {package}: {install_command(extra)}{also}") from error


def _python() -> str:
    """`python` if a shell would find the running interpreter by that name, else its path."""
    running, found = Path(sys.executable), shutil.which("python")
    if found is not None and Path(found).parent == running.parent:
        return "python"
    path = running.relative_to(Path.cwd()) if running.is_relative_to(Path.cwd()) else running
    return f'"{path}"' if " " in str(path) else str(path)
