"""A trained network made ready for answers alone: batch norms folded away, nothing kept for a backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops, Window
from cnn.layers import Layer
from cnn.layers.batch_norm import BatchNorm
from cnn.layers.conv2d import Conv2D
from cnn.layers.dense import Dense
from cnn.layers.dropout import Dropout
from cnn.layers.max_pool2d import MaxPool2D
from cnn.layers.relu import ReLU
from cnn.models.containers import Residual
from cnn.models.model import Model

Step = Callable[[Array], Array]
_FUSED = (ReLU, MaxPool2D)


class InferenceModel:
    """Maps images (n, h, w, c) to logits (n, classes) as `model.forward(images, train=False)` does now.

    A batch norm right behind a convolution or a dense layer is multiplied into its weights (Jacob et al. 2018, section
    3.2), one in front of a dense layer into that; another, such as one between a ReLU and a convolution that pads with
    zeros, stays, and takes the max pooling behind it along. Weights are copies that later training does not move,
    and the backend may keep what it derives from them, such as a filter's Winograd transform.
    """

    def __init__(self, model: Model) -> None:
        self.ops = model.ops
        self._steps = _steps(model.root.layers, model.ops)

    def forward(self, x: Array) -> Array:
        """Logits (n, classes)."""
        return _run(self._steps, x)


def _run(steps: list[Step], x: Array) -> Array:
    for step in steps:
        x = step(x)
    return x


def _steps(layers: list[Layer], ops: Ops) -> list[Step]:
    """The layers as functions that hold what they need and not the layer: with it its gradients would stay."""
    # What does nothing in inference, or is done by its neighbour, is no longer in between.
    left = [each for each in layers if not (isinstance(each, Dropout) or (isinstance(each, _FUSED) and each.fused))]
    steps: list[Step] = []
    at, ahead = 0, None  # the affine map that a batch norm leaves to the dense layer behind it
    while at < len(left):
        layer, after = left[at], left[at + 1] if at + 1 < len(left) else None
        at += 1
        if isinstance(layer, Conv2D | Dense):
            norm = after if isinstance(after, BatchNorm) and not layer.relu else None
            steps.append(_product(layer, norm, ahead, ops))
            ahead = None
            if norm is not None:
                at += 1
                if norm.pooling is not None:
                    steps.append(partial(_pooled, ops, norm.pooling.fixed_window))
        elif isinstance(layer, BatchNorm):
            if isinstance(after, Dense) and not layer.relu:
                ahead = _affine(layer, ops)
                continue
            pooling = layer.pooling
            if pooling is None and isinstance(after, MaxPool2D):
                pooling, at = after, at + 1
            steps.append(_norm(layer, pooling, ops))
        elif isinstance(layer, Residual):
            body, shortcut = (_steps(way.layers, ops) for way in (layer.body, layer.shortcut))
            steps.append(partial(_joined, ops, body, shortcut))
        else:
            steps.append(partial(_as_it_is, layer))
    return steps


def _product(layer: Conv2D | Dense, norm: BatchNorm | None, ahead: _Affine | None, ops: Ops) -> Step:
    """A convolution or dense layer with the batch norm behind it, or for a dense one before it, if there is one."""
    weight = np.array(ops.to_numpy(layer.params["weight"].value))
    bias = np.array(ops.to_numpy(layer.params["bias"].value)) if layer.bias else None
    relu = layer.relu
    if ahead is not None:
        bias = (0 if bias is None else bias) + ahead.shift @ weight
        weight *= ahead.scale[:, None]
    if norm is not None:
        affine = _affine(norm, ops)
        weight *= affine.scale
        bias = affine.shift if bias is None else affine.shift + bias * affine.scale
        relu = norm.relu
    placed, b = ops.constant(weight), None if bias is None else ops.array(bias)
    if isinstance(layer, Dense):
        return partial(_dense, ops, placed, b, relu)
    return partial(_convolution, ops, placed, b, layer.fixed_window, layer.groups, relu)


class _Affine(NamedTuple):
    """y = x * scale + shift, channel by channel: (c,) each."""

    scale: NDArray[Any]
    shift: NDArray[Any]


def _affine(norm: BatchNorm, ops: Ops) -> _Affine:
    gamma, beta = (ops.to_numpy(norm.params[name].value) for name in ("gamma", "beta"))
    mean, variance = (ops.to_numpy(norm.buffers[name]) for name in ("mean", "variance"))
    scale = gamma / np.sqrt(variance + gamma.dtype.type(norm.eps))
    return _Affine(scale, beta - mean * scale)


def _norm(norm: BatchNorm, pooling: MaxPool2D | None, ops: Ops) -> Step:
    """A batch norm that cannot be folded, with the max pooling behind it."""
    gamma, beta = (ops.array(ops.to_numpy(norm.params[name].value)) for name in ("gamma", "beta"))
    mean, variance = (ops.array(ops.to_numpy(norm.buffers[name])) for name in ("mean", "variance"))
    eps, relu = norm.eps, norm.relu
    if pooling is None:
        return lambda x: ops.batch_norm_inference(x, gamma, beta, mean, variance, eps, relu=relu)
    window = pooling.fixed_window
    return lambda x: ops.batch_norm_max_pool2d_inference(x, gamma, beta, mean, variance, eps, window, relu=relu)


def _dense(ops: Ops, weight: Array, bias: Array | None, relu: bool, x: Array) -> Array:
    return ops.dense(x, weight, bias, relu=relu)


def _convolution(
    ops: Ops, weight: Array, bias: Array | None, window: Window, groups: int, relu: bool, x: Array
) -> Array:
    return ops.conv2d(x, weight, bias, window, groups, relu=relu)


def _pooled(ops: Ops, window: Window, x: Array) -> Array:
    return ops.max_pool2d(x, window)[0]


def _joined(ops: Ops, body: list[Step], shortcut: list[Step], x: Array) -> Array:
    return ops.add(_run(body, x), _run(shortcut, x))


def _as_it_is(layer: Layer, x: Array) -> Array:
    return layer.forward(x, False)
