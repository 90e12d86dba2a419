"""Activations: the functions of the reference in chunks that fit the cache; the gradient of ReLU is compiled."""

from __future__ import annotations

import numpy as np

from cnn.backends.blocks import Activation
from cnn.backends.cpu import elementwise_kernels as kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray
from cnn.backends.reference.activations import RULES, scaled


class CpuActivations(CpuArrays):
    """Each function and its gradient on all cores."""

    def activation(self, x: FloatArray, activation: Activation) -> FloatArray:
        if activation.name == "relu":
            return self.elementwise(lambda x, out: np.maximum(x, 0, out=out), x)
        rule = RULES[activation.name]

        def run(x: FloatArray, out: FloatArray) -> None:
            out[...] = rule.function(x, activation.a, activation.b)

        return self.elementwise(run, x)

    def activation_backward(self, dy: FloatArray, saved: FloatArray, activation: Activation) -> FloatArray:
        if activation.name == "relu":
            return self.elementwise(kernels.relu_backward, dy, saved)
        rule = RULES[activation.name]

        def run(dy: FloatArray, saved: FloatArray, out: FloatArray) -> None:
            out[...] = scaled(dy, rule.derivative(saved, activation.a, activation.b))

        return self.elementwise(run, dy, saved)
