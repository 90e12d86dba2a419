"""The backends that the conformance suite runs over; a new one is a line here."""

import functools

import pytest

from backends.emulated import emulated_ops, fits_checked_mode
from backends.running import Backend
from cnn.backends import Ops, get_ops, gpu_missing
from cuda_emulator import unavailable


def _emulated(mode: str) -> Backend:
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return Backend(f"emulator-{mode}", emulated_ops(mode), "float32")


@functools.cache
def cpu_ops(threads: int, convolution: str = "auto") -> Ops:
    """The engine; one for all tests."""
    pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    return get_ops("cpu", threads, convolution=convolution)


def _gpu() -> Backend:
    if reason := gpu_missing():
        pytest.skip(reason)
    ops = get_ops("cupy")
    return Backend("cupy", ops, "float32", [ops])


BACKENDS = {
    "numpy-float64": lambda: Backend("numpy", Ops(), "float64"),
    "numpy-float32": lambda: Backend("numpy", Ops(), "float32"),
    "cpu-float64": lambda: Backend("cpu", cpu_ops(1), "float64"),
    "cpu-float32": lambda: Backend("cpu", cpu_ops(1), "float32", [cpu_ops(3)]),
    "emulator-fast": lambda: _emulated("fast"),
    "emulator-checked": lambda: _emulated("checked"),
    "cupy": _gpu,
}


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.gpu if name == "cupy" else ()) for name in BACKENDS],
)
def backend(request) -> Backend:
    return BACKENDS[request.param]()


def pytest_collection_modifyitems(config, items):
    """The checked emulator looks at every single memory access: it gets the small calls alone.

    Where there is no GPU, a thousand tests that want one are left out, not skipped one by one.
    """
    kept, dropped, no_gpu = [], [], gpu_missing() is not None
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        name = parameters.get("backend")
        run = parameters.get("call") or parameters.get("onnx_case")
        too_large = name == "emulator-checked" and not fits_checked_mode(run)
        (dropped if too_large or (name == "cupy" and no_gpu) else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
