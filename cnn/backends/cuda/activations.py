"""Activations."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Activation, Array
from cnn.backends.cuda.arrays import BFLOAT16, named, rows_and_channels
from cnn.backends.cuda.normalization import CudaNormalization, chunk_parts
from cnn.backends.reference.arrays import round_to_bfloat16


class CudaActivations(CudaNormalization):
    """Kernels in `cnn/kernels/activations.cu`."""

    def activation(self, x: Array, activation: Activation) -> Array:
        y = self.empty(x.shape, x.dtype)
        self.launch(named(activation.name, x), x, y, *_numbers(activation, x), y.size)
        return y

    def activation_backward(self, dy: Array, saved: Array, activation: Activation) -> Array:
        dx = self.empty(dy.shape, dy.dtype)
        kernel = named(f"{activation.name}_backward", dy)
        self.launch(kernel, dy, saved, dx, *_numbers(activation, dy), dx.size)
        return dx

    def prelu(self, x: Array, slope: Array) -> Array:
        y = self.empty(x.shape, x.dtype)
        self.launch(named("prelu", x), x, slope, y, *rows_and_channels(x))
        return y

    def prelu_backward(self, dy: Array, x: Array, slope: Array, out: Array | None = None) -> tuple[Array, Array]:
        rows, c = rows_and_channels(x)
        dx, dslope = self.empty(x.shape, x.dtype), self.floats(c) if out is None else out
        self.launch(named("prelu_backward", x), dy, x, slope, dx, dslope, *chunk_parts(self, rows, c), rows, c)
        return dx, dslope


def _numbers(activation: Activation, x: Array) -> tuple[float, float]:
    """The activation's a and b, rounded to the storage of x for clip, whose gradient compares the output with them."""
    a, b = activation.a, activation.b
    if activation.name == "clip" and x.dtype == BFLOAT16:
        a, b = round_to_bfloat16(np.array([a, b], np.float32)).tolist()
    return a, b
