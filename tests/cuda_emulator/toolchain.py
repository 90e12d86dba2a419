"""The compiler and the headers that the emulator needs, and the flags it compiles with."""

from __future__ import annotations

import functools
import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
INCLUDE = FOLDER / "include"
RUNTIME = FOLDER / "runtime"

# What both builds of a kernel have in common.
_COMMON = (
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-gnu-unique",  # or the shared variables of two files' equal templates would become one
    "-g1",
    "-gdwarf-4",
    "-fno-strict-aliasing",  # kernels read floats as float4
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fstack-clash-protection",  # so that a large local array cannot jump over the stack's guard page
    "-w",
)
_FAST = ("-O1",)
_CHECKED = (
    "-O1",
    *("-fno-tree-sra", "-fno-ipa-sra"),  # an access of a whole struct stays one, as on a GPU, for the trace
    "-DCUDA_EMULATOR_CHECKED",
    "-fsanitize=thread",  # calls the runtime before every memory access
    "--param=tsan-instrument-func-entry-exit=0",
    "-fsanitize=alignment,bounds,shift,integer-divide-by-zero,signed-integer-overflow,vla-bound",
    "-fno-sanitize-recover=all",
    "-ftrivial-auto-var-init=pattern",  # a local variable that is read before it is set is huge
)


@functools.cache
def unavailable() -> str | None:
    """Why the emulator cannot run here; None if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the CUDA emulator needs Linux on x86-64, not {sys.platform} on {platform.machine()}"
    for tool in ("g++", "addr2line"):
        if not shutil.which(tool):
            return f"the CUDA emulator needs {tool}"
    if cuda_include() is None:
        return "the CUDA emulator needs CUDA's headers: pip install nvidia-cuda-runtime nvidia-cuda-crt"
    return None


@functools.cache
def cuda_include() -> Path | None:
    """The folder of the headers from NVIDIA's wheels; None if they are not installed.

    CUDA 13's wheels share `nvidia/cu13/include`; those of CUDA 12 have a folder each, all of it in
    `nvidia/cuda_runtime/include`.
    """
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        places = [*sorted(Path(folder).glob("cu[0-9]*"), reverse=True), Path(folder) / "cuda_runtime"]
        for place in places:
            include = place / "include"
            needed = ("vector_types.h", "vector_functions.h", "crt/host_defines.h")
            if all((include / header).is_file() for header in needed):
                return include
    return None


@functools.cache
def compiler_version() -> str:
    """What g++ says of itself; a part of every cache key."""
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


@functools.cache
def _processor_flags() -> tuple[str, ...]:
    """Vectors, and fused multiply-add as on a GPU, where this processor has them."""
    words: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            words = set(line.split())
            break
    flags = [f"-m{feature}" for feature in ("avx2", "fma") if feature in words]
    return (*flags, "-ffp-contract=fast" if "fma" in words else "-ffp-contract=off")


def build_of(mode: str) -> str:
    """The build of a kernel file that a mode of the emulator runs: fast or checked."""
    return "fast" if mode == "fast" else "checked"


def kernel_flags(mode: str) -> tuple[str, ...]:
    """The compiler's flags for a kernel file, without its own include folders and macros."""
    build = {"fast": _FAST, "checked": _CHECKED}[build_of(mode)]
    return (*_COMMON, *_processor_flags(), *build, f"-I{INCLUDE}", f"-isystem{cuda_include()}")


def runtime_flags() -> tuple[str, ...]:
    """The compiler's flags for the runtime."""
    return (
        *("-std=c++17", "-O2", "-g1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"),
        "-U_FORTIFY_SOURCE",  # its longjmp refuses to leave a signal handler's stack
        *("-Wl,-z,now", f"-isystem{cuda_include()}"),
    )
