"""Stands where the package `cupy` stands, for processes of a rehearsal: a device that computes nothing."""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from idle_cupy import IdleCupy

_device = IdleCupy()


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__version__":
        raise AttributeError(name)
    return getattr(_device, name)
