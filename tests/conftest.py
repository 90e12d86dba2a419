"""What the tests of several packages share."""

import numpy as np
import pytest

from cnn.backends import Ops, get_ops


@pytest.fixture(scope="session")
def ops() -> Ops:
    """The reference; the arrays choose float32 or float64."""
    return get_ops("numpy")


@pytest.fixture(scope="session")
def engine() -> Ops:
    """The compiled engine on one thread."""
    pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    return get_ops("cpu", 1)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same for every test."""
    return np.random.default_rng(17)
