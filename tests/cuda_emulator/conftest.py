"""What the emulator's own tests share."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from cuda_emulator import unavailable
from cuda_emulator.bench import MODES, ORDERS, Bench


def pytest_collection_modifyitems(items):
    if reason := unavailable():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@functools.cache
def _bench(file: str, mode: str, order: str) -> Bench:
    return Bench(file, mode, order, timeout_s=20)


@pytest.fixture(params=[f"{mode}-{order}" for mode in MODES for order in ORDERS])
def bench(request) -> Bench:
    """The correct kernels, in every mode and order."""
    mode, order = request.param.split("-")
    return _bench("mechanisms.cu", mode, order)


@pytest.fixture
def fast() -> Bench:
    """The correct kernels, compiled for speed."""
    return _bench("mechanisms.cu", "fast", "forward")


@pytest.fixture
def bugs():
    """The buggy kernels: a function of mode and order."""
    return functools.partial(_bench, "planted_bugs.cu")
