"""Convolutional networks from scratch: layers over an array backend, NumPy or CUDA.

`from cnn import Classifier` is a network with scikit-learn's protocol, `from cnn import load_folder` reads a folder of
images for it, `from cnn import ops` has the operations of networks on NumPy and CuPy arrays. They are imported on first
use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn import ops as ops
    from cnn.api import Classifier as Classifier
    from cnn.api import load_folder as load_folder

__all__ = ["Classifier", "load_folder", "ops"]


def __getattr__(name: str) -> Any:
    if name in ("Classifier", "load_folder"):
        return getattr(importlib.import_module("cnn.api"), name)
    if name == "ops":
        return importlib.import_module("cnn.ops")
    raise AttributeError(f"module 'cnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
