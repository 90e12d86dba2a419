"""Choosing a backend by name."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from cnn.backends.ops import Ops
from foundation.errors import UserError
from foundation.extras import install_command

BACKENDS = ("numpy", "cpu", "cupy", "auto")
# Values of `backend.convolution` besides auto and tune: an algorithm, used for every shape that it supports.
CONVOLUTIONS = ("im2col", "direct", "winograd2", "winograd4")
MOST_THREADS = 1024  # more than any processor has cores; a config may be a stranger's


def get_ops(
    name: str,
    threads: int | None = None,
    *,
    convolution: str = "auto",
    cublas: bool = False,
    graph: bool = True,
) -> Ops:
    """The backend called `name`.

    "numpy" is the reference, "cpu" the engine compiled by Numba, "cupy" the kernels on a GPU; "auto" is cupy if there
    is a GPU, else cpu if Numba is installed, else numpy. `threads` (None: every available core) and `convolution`, the
    algorithm of convolutions (auto, tune, or one of `CONVOLUTIONS`), are options of "cpu". `cublas` (CuPy's matmul
    computes dense layers) and `graph` (a step is recorded as a CUDA graph and replayed) are options of "cupy". Raises
    `UserError` for an unknown name, fewer than one thread, cupy without CuPy or a GPU, and cpu without Numba.
    """
    if name not in BACKENDS:
        raise UserError(f"there is no backend '{name}'; choose one of: {', '.join(BACKENDS)}")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UserError(f"backend.threads must be at least 1 and at most {MOST_THREADS:,}, not {threads}")
    if convolution not in (known := ("auto", "tune", *CONVOLUTIONS)):
        raise UserError(f"backend.convolution is '{convolution}'; choose one of: {', '.join(known)}")
    if name == "auto":
        name = "cupy" if gpu_missing() is None else "cpu" if _has_numba() else "numpy"
    if name == "numpy":
        return Ops()
    if name == "cpu":
        if not _has_numba():
            raise UserError(f"backend=cpu needs Numba: {install_command('fast')}; backend=numpy does not")
        from cnn.backends.cpu import CpuOps  # noqa: PLC0415

        return CpuOps(threads, convolution)
    if missing := gpu_missing():
        raise UserError(f"backend=cupy cannot run: {missing}")
    from cnn.backends.cuda import CudaOps  # noqa: PLC0415
    from cnn.backends.cuda.measured_tiles import MeasuredTiles  # noqa: PLC0415

    cupy: Any = importlib.import_module("cupy")
    cupy.get_default_memory_pool().free_all_blocks()  # of an earlier job: the jobs of a sweep share a process
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    return CudaOps(cupy, device=device, cublas=cublas, graph=graph, tensor_plan=MeasuredTiles())


def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def gpu_missing() -> str | None:
    """The reason why the GPU backend cannot run, and how to correct it; None if it can."""
    try:
        cupy: Any = importlib.import_module("cupy")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return f"CuPy is not installed ({install_command('cuda13')}; for a driver of CUDA 12 with cuda12)"
        return f"CuPy cannot be imported ({_first_line(error)})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU answers ({_first_line(error)}); backend=cpu runs without one"
    return None if count else "this machine has no CUDA device; backend=cpu runs without one"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
