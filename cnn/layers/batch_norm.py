"""Batch normalisation (Ioffe & Szegedy 2015)."""

from __future__ import annotations

import numpy as np

from cnn.backends import Array
from cnn.layers.base import BuildContext, Layer, Shape, within


class BatchNorm(Layer):
    """Per channel: (x - mean) / sqrt(variance + eps) * gamma + beta.

    Training uses the batch's own statistics and moves the running ones: running = momentum * running +
    (1 - momentum) * batch. Both variances are biased (divided by the count), as in Keras; PyTorch's running
    variance is unbiased and its `momentum` is 1 - ours.
    """

    takes_relu = True

    def __init__(self, momentum: float = 0.9, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = within(momentum, "momentum", 0, 1), within(eps, "eps", 0, 1)
        self._saved: tuple[Array, Array, Array, Array | None] | None = None

    def output_shape(self, input_shape: Shape) -> Shape:
        """Unchanged."""
        return input_shape

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Make `gamma`, `beta` (c,) and the running `mean`, `variance` (c,)."""
        super().build(context, input_shape)
        channels = input_shape[-1]
        self.params["gamma"] = context.parameter(np.ones(channels), decay=False)
        self.params["beta"] = context.parameter(np.zeros(channels), decay=False)
        self.buffers["mean"] = self.ops.array(np.zeros(channels, context.dtype))
        self.buffers["variance"] = self.ops.array(np.ones(channels, context.dtype))

    def forward(self, x: Array, train: bool) -> Array:
        """Normalise, by the batch's statistics in training and by the running ones otherwise."""
        gamma, beta = self.params["gamma"].value, self.params["beta"].value
        if not train:
            mean, variance = self.buffers["mean"], self.buffers["variance"]
            return self.ops.batch_norm_inference(x, gamma, beta, mean, variance, self.eps, relu=self.relu)
        y, mean, variance = self.ops.batch_norm(x, gamma, beta, self.eps, relu=self.relu)
        self.ops.running_average(self.buffers["mean"], mean, self.momentum)
        self.ops.running_average(self.buffers["variance"], variance, self.momentum)
        self._saved = x, mean, variance, y if self.relu else None
        return y

    def backward(self, dy: Array) -> Array:
        """Gradients of gamma, beta and the input."""
        assert self._saved is not None
        x, mean, variance, y = self._saved
        self._saved = None
        gamma, beta = self.params["gamma"], self.params["beta"]
        dx, gamma.grad, beta.grad = self.ops.batch_norm_backward(dy, x, gamma.value, mean, variance, self.eps, y)
        return dx
