"""A trained network made ready for answers alone: batch norms folded away, nothing kept for a backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

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


class InferenceModel:
    """Maps images (n, h, w, c) to logits (n, classes) as `model.forward(images, train=False)` does now.

    A batch norm right behind a convolution or a dense layer is multiplied into its weights (Jacob et al. 2018, section
    3.2); one behind a ReLU stays, since a ReLU is in between. Weights are copies that later training does not move,
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
    steps: list[Step] = []
    norm: Layer | None
    folded = False
    for layer, after in zip(layers, [*layers, None][1:], strict=True):
        if isinstance(layer, Conv2D | Dense):
            norm = after if isinstance(after, BatchNorm) and not layer.relu else None
            folded = norm is not None
            steps.append(_product(layer, norm, ops))
        elif isinstance(layer, BatchNorm) and folded:
            folded = False
            if layer.pooling is not None:
                steps.append(partial(_pooled, ops, layer.pooling.fixed_window))
        elif isinstance(layer, Residual):
            body, shortcut = (_steps(way.layers, ops) for way in (layer.body, layer.shortcut))
            steps.append(partial(_joined, ops, body, shortcut))
        elif not (isinstance(layer, Dropout) or (isinstance(layer, ReLU | MaxPool2D) and layer.fused)):
            steps.append(partial(_as_it_is, layer))
    return steps


def _product(layer: Conv2D | Dense, norm: BatchNorm | None, ops: Ops) -> Step:
    """A convolution or dense layer with the batch norm behind it, if there is one."""
    weight = np.array(ops.to_numpy(layer.params["weight"].value))
    bias = np.array(ops.to_numpy(layer.params["bias"].value)) if layer.bias else None
    relu = layer.relu
    if norm is not None:
        gamma, beta = (ops.to_numpy(norm.params[name].value) for name in ("gamma", "beta"))
        mean, variance = (ops.to_numpy(norm.buffers[name]) for name in ("mean", "variance"))
        scale = gamma / np.sqrt(variance + weight.dtype.type(norm.eps))
        weight *= scale
        bias = beta + ((0 if bias is None else bias) - mean) * scale
        relu = norm.relu
    placed, b = ops.constant(weight), None if bias is None else ops.array(bias)
    # The steps hold what they need and not the layer: with it its weights and gradients would stay.
    if isinstance(layer, Dense):
        return partial(_dense, ops, placed, b, relu)
    return partial(_convolution, ops, placed, b, layer.fixed_window, layer.groups, relu)


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
