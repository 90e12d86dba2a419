"""Layers that cost no pass of their own: their neighbours do their work in passes over memory that they make anyway.

The layers stay in their places, so names, summary and checkpoints are those of the list, and every number that the
network computes stays the same.
"""

from __future__ import annotations

from itertools import pairwise

from cnn.backends import Ops
from cnn.layers import Layer
from cnn.layers.batch_norm import BatchNorm
from cnn.layers.max_pool2d import MaxPool2D
from cnn.layers.relu import ReLU
from cnn.models.containers import Residual, Sequential


def fuse(container: Sequential, ops: Ops) -> None:
    """Fuse ReLUs, and with them what `ops` computes in one pass with a batch norm."""
    _fuse_relus(container.layers)
    if ops.pools_with_batch_norm:
        _fuse_into_batch_norms(container.layers)
    for layer in container.layers:
        if isinstance(layer, Residual):
            fuse(layer.body, ops)
            fuse(layer.shortcut, ops)


def _fuse_relus(layers: list[Layer]) -> None:
    """Let each layer that can apply the ReLU right behind it, and its gradient; the ReLU passes both on.

    Memory does not grow: the output that the ReLU kept, the layer keeps.
    """
    for before, layer in pairwise(layers):
        if before.takes_relu and isinstance(layer, ReLU):
            before.relu = layer.fused = True


def _fuse_into_batch_norms(layers: list[Layer]) -> None:
    """Let a batch norm take the max pooling behind it, a ReLU between them included, and a ReLU's gradient before it.

    The normalised image is never made: what pooling leaves of it is a quarter.
    """
    for index, layer in enumerate(layers):
        if not isinstance(layer, BatchNorm):
            continue
        after = index + (2 if layer.relu else 1)
        if after < len(layers) and isinstance(pooling := layers[after], MaxPool2D):
            layer.pooling, pooling.fused = pooling, True
        if index >= 2 and layers[index - 2].relu and isinstance(layers[index - 1], ReLU):
            layer.relu_before = layers[index - 2].relu_gradient_taken = True
