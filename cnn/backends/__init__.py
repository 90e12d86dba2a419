"""Backends: the ops contract and those who fulfil it."""

from cnn.backends.choice import BACKENDS, CONVOLUTIONS, get_ops, gpu_missing
from cnn.backends.numpy_ops import NumpyOps
from cnn.backends.ops import Array, Ops
from cnn.backends.philox import RandomKey
from cnn.backends.window import Window

__all__ = ["BACKENDS", "CONVOLUTIONS", "Array", "NumpyOps", "Ops", "RandomKey", "Window", "get_ops", "gpu_missing"]
