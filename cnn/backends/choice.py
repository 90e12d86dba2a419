"""Choosing a backend by name."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from cnn.backends.numpy_ops import NumpyOps
from cnn.backends.numpy_ops.conv_choice import AUTO, TUNE
from cnn.backends.ops import Ops
from foundation.errors import UserError

BACKENDS = ("numpy", "cupy", "auto")
# What `backend.convolution` may name, taken wherever it supports the shape.
CONVOLUTIONS = ("im2col", "shifted", "winograd2", "winograd4")


def get_ops(
    name: str,
    threads: int | None = None,
    *,
    compiled: bool | None = None,
    convolution: str = "auto",
    cublas: bool = False,
) -> Ops:
    """The backend called `name`: "numpy", "cupy", or "auto", which is cupy where a GPU answers and numpy elsewhere.

    For NumPy are `threads`, None meaning every available core; `compiled`, whether its passes over memory are compiled
    by Numba, None meaning where it is installed; and `convolution`, the algorithm of convolutions: auto, tune, or one
    of `CONVOLUTIONS`. `cublas` has CuPy's matmul compute dense layers. Raises `UserError` for an unknown name, fewer
    than one thread, cupy without CuPy or a GPU, compiled without Numba.
    """
    if name not in BACKENDS:
        raise UserError(f"there is no backend '{name}'; choose one of: {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise UserError(f"backend.threads must be at least 1, not {threads}")
    missing = gpu_missing() if name != "numpy" else None
    if name == "numpy" or (name == "auto" and missing):
        return _numpy_ops(threads, compiled, convolution)
    if missing:
        raise UserError(f"backend=cupy cannot run: {missing}")
    from cnn.backends.cupy_ops import CupyOps  # noqa: PLC0415

    cupy: Any = importlib.import_module("cupy")
    cupy.get_default_memory_pool().free_all_blocks()  # a sweep's jobs share a process: what the last one left
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    return CupyOps(cupy, device=device, cublas=cublas)


def _numpy_ops(threads: int | None, compiled: bool | None, convolution: str) -> Ops:
    known = (AUTO, TUNE, *CONVOLUTIONS)
    if convolution not in known:
        raise UserError(f"backend.convolution is '{convolution}'; choose one of: {', '.join(known)}")
    missing = importlib.util.find_spec("numba") is None
    if missing and compiled:
        raise UserError("backend.compiled=true needs Numba: pip install -c constraints.txt -e '.[fast]'")
    if missing or compiled is False:
        return NumpyOps(threads, convolution)
    from cnn.backends.compiled_ops import CompiledOps  # noqa: PLC0415

    return CompiledOps(threads, convolution)


def gpu_missing() -> str | None:
    """Why the GPU backend cannot run here, and what to do about it; None where it can."""
    try:
        cupy: Any = importlib.import_module("cupy")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return "CuPy is not installed (pip install -e '.[cuda13]', or '.[cuda12]' for a driver of CUDA 12)"
        return f"CuPy cannot be imported ({_first_line(error)})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU answers ({_first_line(error)}); backend=numpy runs on the CPU"
    return None if count else "this machine has no CUDA device; backend=numpy runs on the CPU"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
