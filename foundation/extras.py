"""Packages that only some options need."""

from __future__ import annotations

import importlib
from typing import Any

from foundation.errors import UserError


def needed(package: str, option: str, extra: str) -> Any:
    """The package that `option` needs. Raises `UserError` naming the extra that installs it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package.partition(".")[0]:
            raise
        raise UserError(f"{option} needs {package}: pip install 'cnn-from-scratch[{extra}]'") from error
