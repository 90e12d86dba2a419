"""Activations that cost no pass of their own: a layer applies the ReLU that follows it."""

from __future__ import annotations

from itertools import pairwise

from cnn.layers.relu import ReLU
from cnn.models.containers import Residual, Sequential


def fuse_relus(container: Sequential) -> None:
    """Let each layer that can apply the ReLU right behind it, and its gradient; the ReLU passes both on.

    The ReLU stays in its place, so names, summary and checkpoints are those of the list of layers, and every number
    that the network computes stays the same. Memory does too: the output that the ReLU kept, the layer keeps.
    """
    for before, layer in pairwise(container.layers):
        if before.takes_relu and isinstance(layer, ReLU):
            before.relu = layer.fused = True
    for layer in container.layers:
        if isinstance(layer, Residual):
            fuse_relus(layer.body)
            fuse_relus(layer.shortcut)
