"""Convolutional networks from scratch: layers over an array backend, NumPy or CUDA.

`from cnn import Classifier` is a network with scikit-learn's protocol, `from cnn import ops` the operations of networks
on NumPy and CuPy arrays. Both are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn import ops as ops
    from cnn.api import Classifier as Classifier

__all__ = ["Classifier", "ops"]


def __getattr__(name: str) -> Any:
    if name == "Classifier":
        return importlib.import_module("cnn.api").Classifier
    if name == "ops":
        return importlib.import_module("cnn.ops")
    raise AttributeError(f"module 'cnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
