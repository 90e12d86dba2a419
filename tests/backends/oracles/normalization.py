"""Normalisation, its sums exact."""

from __future__ import annotations

import math

import numpy as np


def moments(x, out=None):
    return (np.array([_mean_and_variance(column) for column in x.reshape(-1, x.shape[-1]).T]).T,)


def _mean_and_variance(numbers):
    mean = math.fsum(numbers) / len(numbers)
    return mean, math.fsum((numbers - mean) ** 2) / len(numbers)


def normalize(x, gamma, beta, moments, eps):
    mean, variance = moments
    return (gamma * ((x - mean) / np.sqrt(variance + eps)) + beta,)


def running_average(running, current, momentum):
    return (running * momentum + current * (1 - momentum),)


def group_norm(x, gamma, beta, groups, eps):
    y, width = np.empty(x.shape), x.shape[-1] // groups
    statistics = np.empty((len(x), groups, 2))
    for i in range(len(x)):
        for g in range(groups):
            channels = slice(g * width, (g + 1) * width)
            mean, variance = statistics[i, g] = _mean_and_variance(x[i, ..., channels].reshape(-1))
            y[i, ..., channels] = (x[i, ..., channels] - mean) / math.sqrt(variance + eps)
    return y * gamma + beta, statistics
