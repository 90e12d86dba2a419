"""Small data that a network learns in a second, and a network for it."""

from __future__ import annotations

import numpy as np
import pytest

from cnn import Classifier
from cnn.layers import BatchNorm, Conv2D, Dense, GlobalAvgPool2D, ReLU

NAMES = np.array(["left", "middle", "right"])


def stripes(count: int, hw: tuple[int, int] = (6, 9), channels: int | None = None, seed: int = 0):
    """Noisy uint8 images (n, h, w[, c]), bright on the left, in the middle or on the right, and their names."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 3)
    images = rng.integers(0, 120, (count, *hw, channels or 1))
    for image, label in zip(images, labels, strict=True):
        third = hw[1] // 3
        image[:, third * label : third * (label + 1)] += 100
    return (images if channels else images[..., 0]).astype(np.uint8), NAMES[labels]


def layers():
    """A small network, as objects."""
    return [
        Conv2D(6, bias=False),
        BatchNorm(),
        ReLU(),
        Conv2D(8, stride=2),
        ReLU(),
        GlobalAvgPool2D(),
        Dense("classes"),
    ]


def small(**options) -> Classifier:
    """An estimator that takes a fraction of a second for `stripes`."""
    chosen = {"model": layers(), "epochs": 6, "batch_size": 16, "learning_rate": 0.02, "backend": "cpu", "threads": 1}
    return Classifier(**(chosen | options))


@pytest.fixture(scope="session")
def fitted() -> Classifier:
    """One that has learned; tests leave it as it is."""
    return small().fit(*stripes(90))
