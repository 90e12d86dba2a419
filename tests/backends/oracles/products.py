"""Convolution and dense layers."""

from __future__ import annotations

import math

import numpy as np

from backends.oracles.activations import FUNCTIONS
from backends.oracles.normalization import moments
from backends.seen import seen
from cnn.backends import Epilogue

_NOTHING = Epilogue()


def conv2d(x, w, b, window, groups, epilogue=_NOTHING):
    depth, width = w.shape[2], w.shape[3] // groups
    y = np.zeros((len(x), *window.output_hw, w.shape[3]))
    for i in range(window.output_hw[0]):
        for j in range(window.output_hw[1]):
            for k, m, row, column in seen(window, i, j):
                for g in range(groups):
                    channels, filters = slice(g * depth, (g + 1) * depth), slice(g * width, (g + 1) * width)
                    y[:, i, j, filters] += x[:, row, column, channels] @ w[k, m, :, filters]
    return _finished(y, b, epilogue)


def dense(x, w, b, epilogue=_NOTHING):
    return _finished(np.array([[math.fsum(row * column) for column in w.T] for row in x]), b, epilogue)


def _finished(y, b, epilogue):
    y = y if b is None else y + b
    if activation := epilogue.activation:
        y = FUNCTIONS[activation.name](y, activation.a, activation.b)
    return (y,) if epilogue.moments is None else (y, *moments(y))
