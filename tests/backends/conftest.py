"""The backends that the conformance suite runs over; a new one is a line here."""

import numpy as np
import pytest

from backends.running import Backend
from cnn.backends import get_ops

BACKENDS = {
    "numpy-float64": lambda: Backend("numpy", get_ops("numpy", 1), "float64"),
    "numpy-float32": lambda: Backend("numpy", get_ops("numpy", 1), "float32"),
}


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request) -> Backend:
    return BACKENDS[request.param]()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(17)
