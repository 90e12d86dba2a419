"""Activations: a class for each name of a config. The computations are in `cnn/backends/`."""

from __future__ import annotations

import math

from cnn.backends import Activation, PReLU, Stage
from cnn.layers.base import Parameter, Pass, Pointwise, Shape, Tensors, require_float


class ActivationLayer(Pointwise):
    """An element-wise function without trained parameters: see `cnn.backends.Activation`."""

    activation: Activation

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Stage:
        """The function itself."""
        return self.activation


class ReLU(ActivationLayer):
    """max(x, 0)."""

    activation = Activation("relu")


class ReLU6(ActivationLayer):
    """min(max(x, 0), 6) (Howard et al. 2017)."""

    activation = Activation("clip", 0.0, 6.0)


class Clip(ActivationLayer):
    """min(max(x, low), high)."""

    def __init__(self, low: float = 0.0, high: float = 6.0) -> None:
        self.low = require_float(low, "low", -math.inf, math.inf)
        self.high = require_float(high, "high", -math.inf, math.inf)
        self.activation = Activation("clip", self.low, self.high)
        if not low < high:
            raise ValueError(f"low must be below high, but {low} is not below {high}")


class Sigmoid(ActivationLayer):
    """1 / (1 + exp(-x))."""

    activation = Activation("sigmoid")


class Tanh(ActivationLayer):
    """The hyperbolic tangent."""

    activation = Activation("tanh")


class LeakyReLU(ActivationLayer):
    """`x` where x > 0, else slope * x (Maas et al. 2013)."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = require_float(slope, "slope", -math.inf, math.inf)
        self.activation = Activation("leaky_relu", self.slope)


class ELU(ActivationLayer):
    """`x` where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = require_float(alpha, "alpha", -math.inf, math.inf)
        self.activation = Activation("elu", self.alpha)


class SELU(ActivationLayer):
    """ELU scaled so that activations keep mean 0 and variance 1 (Klambauer et al. 2017)."""

    activation = Activation("selu", 1.6732632423543772, 1.0507009873554805)


class GELU(ActivationLayer):
    """`x` times the normal distribution function of x, exact (Hendrycks & Gimpel 2016)."""

    activation = Activation("gelu")


class SiLU(ActivationLayer):
    """`x` * sigmoid(x), also called swish (Elfwing et al. 2017)."""

    activation = Activation("silu")


class Mish(ActivationLayer):
    """`x` * tanh(softplus(x)) (Misra 2019)."""

    activation = Activation("mish")


class Softplus(ActivationLayer):
    """log(1 + exp(x))."""

    activation = Activation("softplus")


class HardSwish(ActivationLayer):
    """`x` * min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""

    activation = Activation("hard_swish")


class PReLULayer(Pointwise):
    """`x` where x > 0, else slope * x, with a slope for each channel that is trained (He et al. 2015)."""

    def __init__(self, initial: float = 0.25) -> None:
        self.initial = require_float(initial, "initial", -math.inf, math.inf)

    def parameters(self, input_shape: Shape, init: str = "he_normal") -> dict[str, Parameter]:
        """`slope` (c,)."""
        return {"slope": Parameter((input_shape[-1],), self.initial, decay=False)}

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Stage:
        """The slopes, and the array for their gradient."""
        return PReLU(params["slope"], grads.get("slope"))
