"""Batch normalisation (Ioffe & Szegedy 2015)."""

from __future__ import annotations

import numpy as np

from cnn.backends import Array
from cnn.layers.base import BuildContext, Layer, Shape, within
from cnn.layers.max_pool2d import MaxPool2D


class BatchNorm(Layer):
    """Per channel: (x - mean) / sqrt(variance + eps) * gamma + beta.

    Training uses the batch's own statistics and moves the running ones: running = momentum * running +
    (1 - momentum) * batch. Both variances are biased (divided by the count), as in Keras; PyTorch's running
    variance is unbiased and its `momentum` is 1 - ours.
    """

    takes_relu = True
    # The max pooling right behind, if this layer applies it as well; and whether the input is what a ReLU returned,
    # whose gradient this layer then takes, too. Both are for backends that compute them in one pass.
    pooling: MaxPool2D | None = None
    relu_before = False

    def __init__(self, momentum: float = 0.9, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = within(momentum, "momentum", 0, 1), within(eps, "eps", 0, 1)
        self._saved: tuple[Array, Array, Array, Array | None, Array | None] | None = None

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
            statistics = self.buffers["mean"], self.buffers["variance"]
            if self.pooling is not None:
                window = self.pooling.fixed_window
                return self.ops.batch_norm_max_pool2d_inference(
                    x, gamma, beta, *statistics, self.eps, window, relu=self.relu
                )
            return self.ops.batch_norm_inference(x, gamma, beta, *statistics, self.eps, relu=self.relu)
        winner = None
        if self.pooling is not None:
            y, winner, mean, variance = self.ops.batch_norm_max_pool2d(
                x, gamma, beta, self.eps, self.pooling.fixed_window, relu=self.relu
            )
        else:
            y, mean, variance = self.ops.batch_norm(x, gamma, beta, self.eps, relu=self.relu)
        self.ops.running_average(self.buffers["mean"], mean, self.momentum)
        self.ops.running_average(self.buffers["variance"], variance, self.momentum)
        self._saved = x, mean, variance, y if self.relu or winner is not None else None, winner
        return y

    def backward(self, dy: Array) -> Array:
        """Gradients of gamma, beta and the input."""
        assert self._saved is not None
        x, mean, variance, y, winner = self._saved
        self._saved = None
        gamma, beta = self.params["gamma"], self.params["beta"]
        if self.pooling is not None:
            dx, gamma.grad, beta.grad = self.ops.batch_norm_max_pool2d_backward(
                dy,
                winner,
                y,
                x,
                gamma.value,
                mean,
                variance,
                self.eps,
                self.pooling.fixed_window,
                relu=self.relu,
                relu_before=self.relu_before,
            )
        else:
            dx, gamma.grad, beta.grad = self.ops.batch_norm_backward(
                dy, x, gamma.value, mean, variance, self.eps, y, relu_before=self.relu_before
            )
        return dx
