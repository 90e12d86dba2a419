"""Backends: the class `Ops` of all operations, and its implementations."""

from cnn.backends.blocks import (
    Activation,
    Array,
    Augmentation,
    Dropout,
    DropPath,
    Epilogue,
    Join,
    Normalize,
    Pool,
    PReLU,
    Stage,
)
from cnn.backends.choice import BACKENDS, CONVOLUTIONS, get_ops, gpu_missing
from cnn.backends.ops import Ops
from cnn.backends.philox import RandomKey
from cnn.backends.window import Window

__all__ = [
    "BACKENDS",
    "CONVOLUTIONS",
    "Activation",
    "Array",
    "Augmentation",
    "DropPath",
    "Dropout",
    "Epilogue",
    "Join",
    "Normalize",
    "Ops",
    "PReLU",
    "Pool",
    "RandomKey",
    "Stage",
    "Window",
    "get_ops",
    "gpu_missing",
]
