"""Tails: the other oracles one after the other."""

from __future__ import annotations

from backends.oracles.activations import activation, prelu
from backends.oracles.joins import add, multiply
from backends.oracles.normalization import normalize, running_average
from backends.oracles.pooling import avg_pool2d, max_pool2d
from backends.oracles.randomness import drop_path, dropout
from cnn.backends import Activation, Dropout, DropPath, Join, Normalize, Pool, PReLU


def tail(x, stages, keep=True):
    """y, and the running moments that the stages move."""
    moved = []
    for stage in stages:
        x = _stage(x, stage)
        if isinstance(stage, Normalize) and stage.running:
            running, momentum = stage.running
            moved += running_average(running, stage.moments, momentum)
    return x, *moved


def _stage(x, stage):
    match stage:
        case Normalize():
            results = normalize(x, stage.gamma, stage.beta, stage.moments, stage.eps)
        case Activation():
            results = activation(x, stage)
        case PReLU():
            results = prelu(x, stage.slope)
        case Join():
            results = (add if stage.kind == "add" else multiply)(x, stage.other)
        case Pool(kind="max"):
            results = max_pool2d(x, stage.window)
        case Pool():
            results = avg_pool2d(x, stage.window, stage.count_padding)
        case Dropout():
            results = dropout(x, stage.rate, stage.key)
        case DropPath():
            results = drop_path(x, stage.rate, stage.key)
    return results[0]
