"""Element-wise operations: add and the activations."""

from __future__ import annotations

from cnn.backends.cupy_ops.base import CupyBase
from cnn.backends.ops import Array


class CupyElementwise(CupyBase):
    """Kernels in `cnn/kernels/elementwise.cu`."""

    def add(self, a: Array, b: Array) -> Array:
        y = self.empty(a.shape)
        self.launch("add", a, b, y, y.size)
        return y

    def relu(self, x: Array) -> Array:
        return self._activate("relu", x)

    def relu_backward(self, dy: Array, x: Array) -> Array:
        return self._activate_backward("relu_backward", dy, x)

    def leaky_relu(self, x: Array, slope: float) -> Array:
        return self._activate("leaky_relu", x, slope)

    def leaky_relu_backward(self, dy: Array, x: Array, slope: float) -> Array:
        return self._activate_backward("leaky_relu_backward", dy, x, slope)

    def elu(self, x: Array, alpha: float) -> Array:
        return self._activate("elu", x, alpha)

    def elu_backward(self, dy: Array, x: Array, alpha: float) -> Array:
        return self._activate_backward("elu_backward", dy, x, alpha)

    def gelu(self, x: Array) -> Array:
        return self._activate("gelu", x)

    def gelu_backward(self, dy: Array, x: Array) -> Array:
        return self._activate_backward("gelu_backward", dy, x)

    def silu(self, x: Array) -> Array:
        return self._activate("silu", x)

    def silu_backward(self, dy: Array, x: Array) -> Array:
        return self._activate_backward("silu_backward", dy, x)

    def _activate(self, kernel: str, x: Array, parameter: float = 0.0) -> Array:
        y = self.empty(x.shape)
        self.launch(kernel, x, y, parameter, y.size)
        return y

    def _activate_backward(self, kernel: str, dy: Array, x: Array, parameter: float = 0.0) -> Array:
        dx = self.empty(x.shape)
        self.launch(kernel, dy, x, dx, parameter, dx.size)
        return dx
