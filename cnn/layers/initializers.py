"""Initializers of weights, by their common names; and filters that are computed from training images."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_IMAGES = 64  # whose patches are in memory together

Initializer = Callable[[np.random.Generator, tuple[int, ...], int, int], NDArray[np.float64]]


def glorot_uniform(
    generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> NDArray[np.float64]:
    """Uniform within sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010), the default of Keras."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return generator.uniform(-limit, limit, shape)


def he_normal(generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> NDArray[np.float64]:
    """Normal with deviation sqrt(2 / fan_in) (He et al. 2015), for ReLU."""
    return generator.normal(0.0, math.sqrt(2 / fan_in), shape)


def whitening_filters(images: NDArray[np.float32], kernel: tuple[int, int], eps: float) -> NDArray[np.float64]:
    """Filters (kh, kw, c, 2 * kh * kw * c) whose outputs over the patches of images (n, h, w, c) are white noise's.

    The principal components by descending variance, each divided by sqrt(variance + eps) and with its largest weight
    positive; then their negatives.
    """
    (kh, kw), channels = kernel, images.shape[3]
    size, count = kh * kw * channels, 0
    moments = np.zeros((size, size))
    for start in range(0, len(images), _IMAGES):
        seen = sliding_window_view(images[start : start + _IMAGES].astype(np.float64), (kh, kw), (1, 2))
        patches = seen.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size)
        moments += patches.T @ patches
        count += len(patches)
    variances, components = np.linalg.eigh(moments / count)
    filters = (components / np.sqrt(np.maximum(variances, 0) + max(eps, 1e-12)))[:, ::-1]
    largest = np.take_along_axis(filters, np.abs(filters).argmax(axis=0, keepdims=True), 0)
    filters = (filters * np.sign(largest)).reshape(kh, kw, channels, size)
    return np.concatenate([filters, -filters], axis=-1)


INITIALIZERS: dict[str, Initializer] = {"glorot_uniform": glorot_uniform, "he_normal": he_normal}


def known_init(name: str | None) -> str | None:
    """`name` itself; None means the model's initializer. Raises ValueError for an unknown name."""
    if name is not None:
        initializer(name)
    return name


def initializer(name: str) -> Initializer:
    """The initializer called `name`. Raises ValueError for an unknown name."""
    if name not in INITIALIZERS:
        raise ValueError(f"there is no init '{name}'; choose one of: {', '.join(INITIALIZERS)}")
    return INITIALIZERS[name]
