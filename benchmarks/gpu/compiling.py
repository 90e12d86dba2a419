"""Compiles all kernels, so that the stages find them in CuPy's cache: a process per core, as NVRTC uses one."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from benchmarks.gpu.turn import Turn, header
from benchmarks.torch_reference import one_line
from cnn.backends import get_ops
from cnn.kernels import KERNELS, compiled_with
from foundation.files import write_text


def run(turn: Turn) -> str:
    """Compile each module; writes `compile.md` if one fails."""
    first = modules()[:2] if turn.quick else modules()
    failures = {}
    workers = min(len(first), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(compile_kernel, name): name for name in first}
        for done in as_completed(waiting):
            if error := done.result():
                failures[waiting[done]] = error
    if failures:
        lines = [f"- {name}: {error}" for name, error in sorted(failures.items())]
        write_text(turn.out / "compile.md", "\n".join([*header("Kernels that do not compile", turn.facts()), *lines]))
        raise RuntimeError(f"{len(failures)} of {len(first)} modules do not compile: see compile.md")
    return f"{len(first)} modules"


def modules() -> list[str]:
    """A kernel of each module, those that take longest first."""
    found: dict[tuple[str, ...], str] = {}
    for name, kernel in KERNELS.items():
        found.setdefault(tuple(each.name for each in compiled_with(kernel)), name)
    return sorted(found.values(), key=lambda name: not KERNELS[name].alone)


def compile_kernel(name: str) -> str | None:
    """Compile the kernel `name` and those beside it; the error, if there is one."""
    try:
        ops: Any = get_ops("cupy")
        kernel = KERNELS[name]
        if not kernel.runs_on(int(ops.xp.cuda.Device().compute_capability)):
            return None
        ops.launch._function(kernel)
    except Exception as error:
        return one_line(error)
    return None
