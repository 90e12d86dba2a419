"""The backends that the conformance suite runs over; a new one is a line here."""

import pytest

from backends.emulated import emulated_ops, fits_checked_mode
from backends.running import Backend
from cnn.backends import get_ops, gpu_missing
from cuda_emulator import unavailable


def _emulated(mode: str) -> Backend:
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return Backend(f"emulator-{mode}", emulated_ops(mode), "float32")


def _gpu() -> Backend:
    if reason := gpu_missing():
        pytest.skip(reason)
    return Backend("cupy", get_ops("cupy"), "float32")


BACKENDS = {
    "numpy-float64": lambda: Backend("numpy", get_ops("numpy", 1), "float64"),
    "numpy-float32": lambda: Backend("numpy", get_ops("numpy", 1), "float32"),
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
    """The checked emulator looks at every single memory access: it gets the small cases alone."""
    kept, dropped = [], []
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        too_large = parameters.get("backend") == "emulator-checked" and not fits_checked_mode(parameters.get("call"))
        (dropped if too_large else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
