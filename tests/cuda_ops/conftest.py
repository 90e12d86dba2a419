"""The backend in both modes of the emulator, arrays of both storage types."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest

from backends.emulated import new_emulated_ops
from cnn.backends import get_ops, gpu_missing
from cnn.backends.cuda import CudaOps
from cuda_emulator import unavailable


@functools.cache
def _ops(mode: str, order: str) -> CudaOps:
    return new_emulated_ops(mode, order)


def emulated(mode: str, order: str = "forward") -> CudaOps:
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return _ops(mode, order)


@dataclass(frozen=True)
class Device:
    """A backend, and what its activations are kept in."""

    ops: CudaOps
    storage: str

    def put(self, values: np.ndarray):
        """Activations on the device: rounded to the storage type."""
        return self.ops.stored(self.ops.array(np.asarray(values, np.float32)), self.storage)

    def get(self, array) -> np.ndarray:
        return self.ops.to_numpy(array).astype(np.float64)

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """The values as the device has them, in float64."""
        return self.get(self.put(values))

    def assert_close(self, actual, expected, tolerance: float = 2e-6) -> None:
        """Within `tolerance` of the largest expected value, and the rounding of each to its storage type."""
        found = self.get(actual)
        expected = np.asarray(expected, np.float64)
        assert found.shape == expected.shape
        relative = 2.0**-8 if actual.dtype == np.uint16 else 0
        bound = tolerance * np.abs(expected).max(initial=0) + relative * np.abs(expected)
        assert (np.abs(found - expected) <= bound).all(), np.abs(found - expected).max()


@functools.cache
def on_a_gpu() -> CudaOps:
    if reason := gpu_missing():
        pytest.skip(reason)
    return get_ops("cupy")


@pytest.fixture(params=["fast", "checked", pytest.param("cupy", marks=pytest.mark.gpu)])
def cuda(request) -> CudaOps:
    return on_a_gpu() if request.param == "cupy" else emulated(request.param)


@pytest.fixture(params=["float32", "bfloat16"])
def device(request, cuda) -> Device:
    return Device(cuda, request.param)
