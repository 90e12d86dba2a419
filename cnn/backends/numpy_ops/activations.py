"""Activations, element by element."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf, expit

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase

_SQRT_HALF = math.sqrt(0.5)
_DENSITY = 1 / math.sqrt(2 * math.pi)


class NumpyActivations(NumpyBase):
    """Each activation beside its gradient."""

    def relu(self, x: FloatArray) -> FloatArray:
        return self.elementwise(lambda x, out: np.maximum(x, 0, out=out), x)

    def relu_backward(self, dy: FloatArray, x: FloatArray) -> FloatArray:
        return self.elementwise(lambda dy, x, out: np.multiply(dy, x > 0, out=out), dy, x)

    def leaky_relu(self, x: FloatArray, slope: float) -> FloatArray:
        return self.elementwise(lambda x, out: np.multiply(x, _step(x, slope), out=out), x)

    def leaky_relu_backward(self, dy: FloatArray, x: FloatArray, slope: float) -> FloatArray:
        return self.elementwise(lambda dy, x, out: np.multiply(dy, _step(x, slope), out=out), dy, x)

    def elu(self, x: FloatArray, alpha: float) -> FloatArray:
        def run(x: FloatArray, out: FloatArray) -> None:
            np.expm1(np.minimum(x, 0), out=out)
            out *= alpha
            np.copyto(out, x, where=x > 0)

        return self.elementwise(run, x)

    def elu_backward(self, dy: FloatArray, x: FloatArray, alpha: float) -> FloatArray:
        def run(dy: FloatArray, x: FloatArray, out: FloatArray) -> None:
            np.exp(np.minimum(x, 0), out=out)
            out *= alpha
            np.copyto(out, 1, where=x > 0)
            out *= dy

        return self.elementwise(run, dy, x)

    def gelu(self, x: FloatArray) -> FloatArray:
        return self.elementwise(lambda x, out: np.multiply(x, _normal_cdf(x), out=out), x)

    def gelu_backward(self, dy: FloatArray, x: FloatArray) -> FloatArray:
        def run(dy: FloatArray, x: FloatArray, out: FloatArray) -> None:
            np.exp(-0.5 * x * x, out=out)
            out *= _DENSITY * x
            out += _normal_cdf(x)
            out *= dy

        return self.elementwise(run, dy, x)

    def silu(self, x: FloatArray) -> FloatArray:
        return self.elementwise(lambda x, out: np.multiply(x, expit(x), out=out), x)

    def silu_backward(self, dy: FloatArray, x: FloatArray) -> FloatArray:
        def run(dy: FloatArray, x: FloatArray, out: FloatArray) -> None:
            s = expit(x)
            np.multiply(dy, s * (1 + x * (1 - s)), out=out)

        return self.elementwise(run, dy, x)


def _step(x: FloatArray, slope: float) -> FloatArray:
    """1 where x > 0, else slope."""
    return np.where(x > 0, x.dtype.type(1), x.dtype.type(slope))


def _normal_cdf(x: FloatArray) -> FloatArray:
    return 0.5 * (1 + erf(x * x.dtype.type(_SQRT_HALF)))
