"""Normalisation of each example separately: group norm (Wu & He 2018) and layer norm (Ba et al. 2016)."""

from __future__ import annotations

from typing import Any

from cnn.backends import Array
from cnn.layers.base import Layer, Parameter, Pass, Shape, Tensors, require_float, require_int


class GroupNorm(Layer):
    """Each example's groups of channels are normalised over their pixels and channels, then scaled and shifted.

    One group normalises over the whole example; as many groups as channels is instance norm. The result does not depend
    on the batch, so training and inference compute the same.
    """

    def __init__(self, groups: int = 8, eps: float = 1e-5) -> None:
        self.groups, self.eps = require_int(groups, "groups"), require_float(eps, "eps", 0, 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Unchanged."""
        if input_shape[-1] % self.groups:
            raise ValueError(f"{input_shape[-1]} channels do not divide into {self.groups} groups")
        return input_shape

    def parameters(self, input_shape: Shape, init: str = "he_normal") -> dict[str, Parameter]:
        """`gamma` and `beta` (c,)."""
        shape = (input_shape[-1],)
        return {"gamma": Parameter(shape, 1.0, decay=False), "beta": Parameter(shape, 0.0, decay=False)}

    def forward(self, params: Tensors, x: Array, ctx: Pass) -> tuple[Array, Any]:
        """Normalise."""
        seen = self._seen(x)
        y, statistics = ctx.ops.group_norm(seen, params["gamma"], params["beta"], self.groups, self.eps)
        return y.reshape(x.shape), (seen, statistics)

    def backward(self, params: Tensors, saved: Any, dy: Array, grads: Tensors, ctx: Pass) -> Array:
        """Gradients of gamma, beta and the input."""
        seen, statistics = saved
        dx, _, _ = ctx.ops.group_norm_backward(
            dy.reshape(seen.shape),
            seen,
            params["gamma"],
            statistics,
            self.groups,
            self.eps,
            out=(grads["gamma"], grads["beta"]),
        )
        return dx.reshape(dy.shape)

    def _seen(self, x: Array) -> Array:
        """The array whose examples are normalised separately."""
        return x


class LayerNorm(GroupNorm):
    """The channels of each pixel (or the elements of a vector) are normalised, then scaled and shifted by channel."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__(1, eps)

    def _seen(self, x: Array) -> Array:
        """x with every pixel as an example."""
        return x.reshape(-1, 1, x.shape[-1])
