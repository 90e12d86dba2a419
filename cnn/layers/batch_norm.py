"""Batch normalisation (Ioffe & Szegedy 2015)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cnn.backends import Array, Normalize
from cnn.layers.base import Buffer, Parameter, Pass, Pointwise, Shape, Tensors, require_float


class BatchNorm(Pointwise):
    """Per channel: (x - mean) / sqrt(variance + eps) * gamma + beta.

    Training uses the statistics of the batch and updates the running statistics: running = momentum * running +
    (1 - momentum) * batch. Both variances are biased (divided by the count), as in Keras; PyTorch's running
    variance is unbiased, and its `momentum` is 1 - momentum here.
    """

    def __init__(self, momentum: float = 0.9, eps: float = 1e-5) -> None:
        self.momentum, self.eps = require_float(momentum, "momentum", 0, 1), require_float(eps, "eps", 0, 1)

    def parameters(self, input_shape: Shape, init: str = "he_normal") -> dict[str, Parameter]:
        """`gamma` and `beta` (c,)."""
        shape = (input_shape[-1],)
        return {"gamma": Parameter(shape, 1.0, decay=False), "beta": Parameter(shape, 0.0, decay=False)}

    def buffers(self, input_shape: Shape) -> dict[str, Buffer]:
        """The running `moments` (2, c): mean and variance."""
        channels = input_shape[-1]
        return {"moments": Buffer(np.array([np.zeros(channels), np.ones(channels)]), ("mean", "variance"))}

    def stage(self, params: Tensors, grads: Tensors, ctx: Pass) -> Normalize:
        """The normalisation by the moments of the batch, which update the running ones, else by the running moments."""
        moments = ctx.moments if ctx.train else params["moments"]
        gradients = (grads["gamma"], grads["beta"]) if grads else None
        running = (params["moments"], self.momentum) if ctx.train else None
        return Normalize(params["gamma"], params["beta"], moments, self.eps, ctx.train, gradients, running)

    def forward(self, params: Tensors, x: Array, ctx: Pass) -> tuple[Array, Any]:
        """Normalise; in training by the moments of the batch, with which it updates the running moments."""
        moments = ctx.ops.moments(x) if ctx.train else None
        if moments is not None:
            ctx.ops.share_moments(moments)
        y, saved = super().forward(params, x, replace(ctx, moments=moments))
        return y, (moments, saved)

    def backward(self, params: Tensors, saved: Any, dy: Array, grads: Tensors, ctx: Pass) -> Array:
        """Gradients of gamma, beta and the input."""
        moments, kept = saved
        return super().backward(params, kept, dy, grads, replace(ctx, moments=moments))
