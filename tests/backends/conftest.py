"""The backends that the conformance suite runs over; a new one is a line here."""

import pytest

from backends.emulated import emulated_ops, fits_checked_mode
from backends.running import Backend
from cnn.backends import CONVOLUTIONS, NumpyOps, Ops, get_ops, gpu_missing
from cuda_emulator import unavailable


def _emulated(mode: str) -> Backend:
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return Backend(f"emulator-{mode}", emulated_ops(mode), "float32")


def compiled_ops(threads: int, convolution: str = "auto") -> Ops:
    """The NumPy backend with compiled passes."""
    pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    return get_ops("numpy", threads, compiled=True, convolution=convolution)


def _gpu() -> Backend:
    if reason := gpu_missing():
        pytest.skip(reason)
    return Backend("cupy", get_ops("cupy"), "float32")


def _forced(kind: str, convolution: str, dtype: str) -> Backend:
    return Backend(f"{kind}-{convolution}", cpu_ops(kind, 1, convolution), dtype)


def cpu_ops(kind: str, threads: int, convolution: str = "auto") -> Ops:
    """The NumPy backend, `plain` or `compiled`, with an algorithm for its convolutions."""
    return NumpyOps(threads, convolution) if kind == "plain" else compiled_ops(threads, convolution)


# Every way to compute a convolution, plain in float64 and compiled in float32, wherever it supports the shape.
FORCED = {
    f"{kind}-{convolution}": (lambda k=kind, c=convolution, d=dtype: _forced(k, c, d))
    for kind, dtype in (("plain", "float64"), ("compiled", "float32"))
    for convolution in CONVOLUTIONS
}
BACKENDS = {
    "numpy-float64": lambda: Backend("numpy", NumpyOps(1), "float64"),
    "numpy-float32": lambda: Backend("numpy", NumpyOps(1), "float32"),
    "compiled-float64": lambda: Backend("compiled", compiled_ops(1), "float64"),
    "compiled-float32": lambda: Backend("compiled", compiled_ops(1), "float32"),
    **FORCED,
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


@pytest.fixture(scope="session", params=["plain", "compiled", *(f"plain-{name}" for name in CONVOLUTIONS)])
def ops(request) -> Ops:
    """NumPy in every way, for gradient checks in float64; on one thread."""
    kind, _, convolution = request.param.partition("-")
    return cpu_ops(kind, 1, convolution or "auto")


def pytest_collection_modifyitems(config, items):
    """The checked emulator looks at every single memory access: it gets the small cases alone.

    A backend with a forced algorithm gets the convolutions alone.
    """
    kept, dropped = [], []
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        call = parameters.get("call")
        forced = parameters.get("backend") in FORCED or "plain-" in str(parameters.get("ops"))
        elsewhere = forced and not getattr(call, "op", "").startswith("conv2d")
        too_large = parameters.get("backend") == "emulator-checked" and not fits_checked_mode(call)
        (dropped if too_large or elsewhere else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
