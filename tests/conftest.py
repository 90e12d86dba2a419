"""What every room's tests share."""

import numpy as np
import pytest

from cnn.backends import Ops, get_ops


@pytest.fixture(scope="session")
def ops() -> Ops:
    """The NumPy backend on one thread; the arrays choose float32 or float64."""
    return get_ops("numpy", 1)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same for every test."""
    return np.random.default_rng(17)
