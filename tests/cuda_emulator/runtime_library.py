"""The compiled runtime and its functions, as Python calls them."""

from __future__ import annotations

import ctypes
import functools

from cuda_emulator import toolchain
from cuda_emulator.build_cache import build, fingerprint


class PassedArgument(ctypes.Structure):
    """One argument of a launch, mirrored in `runtime/launch.cpp`."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("is_const", ctypes.c_int32),
        ("unused", ctypes.c_int32),
    )


class Launch(ctypes.Structure):
    """A launch, mirrored in `runtime/launch.cpp`."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(PassedArgument)),
        ("argument_count", ctypes.c_int32),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint32),
        ("order", ctypes.c_int32),
        ("checked", ctypes.c_int32),
        ("traced", ctypes.c_int32),
        ("unused", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
        ("timeout", ctypes.c_double),
    )


class Counts(ctypes.Structure):
    """What a launch counted, mirrored in `runtime/launch.cpp`."""

    _fields_ = (("switches", ctypes.c_int64), ("barriers", ctypes.c_int64), ("accesses", ctypes.c_int64))


class TraceLine(ctypes.Structure):
    """The accesses of warps at one instruction in a launch, mirrored in `runtime/trace.cpp`."""

    _fields_ = (
        ("instruction", ctypes.c_uint64),
        ("shared", ctypes.c_int32),
        ("write", ctypes.c_int32),
        ("bytes", ctypes.c_int32),
        ("argument", ctypes.c_int32),
        ("most_ways", ctypes.c_int64),
        ("accesses", ctypes.c_int64),
        ("uniform", ctypes.c_int64),
        ("passes", ctypes.c_int64),
        ("least", ctypes.c_int64),
        ("sectors", ctypes.c_int64),
        ("useful", ctypes.c_int64),
    )


class Report(ctypes.Structure):
    """One finding, mirrored in `runtime/failures.h`."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("other_address", ctypes.c_uint64),
        ("array", ctypes.c_uint64),
        ("text", ctypes.c_char * 640),
    )


class Reports(ctypes.Structure):
    """The findings of a launch, mirrored in `runtime/failures.h`."""

    _fields_ = (("count", ctypes.c_int32), ("stopped", ctypes.c_int32), ("report", Report * 16))


@functools.cache
def runtime_key() -> str:
    """Hash of all that the compiled runtime depends on; compiled kernels depend on it too."""
    sources = [*sorted(toolchain.RUNTIME.glob("[a-z]*")), toolchain.INCLUDE / "runtime_calls.h"]
    texts = [path.name.encode() + b"\0" + path.read_bytes() for path in sources]
    return fingerprint(toolchain.compiler_version(), repr(toolchain.runtime_flags()), *texts)


@functools.cache
def runtime() -> ctypes.CDLL:
    """The runtime, compiled if need be and loaded where the kernels find its symbols."""
    sources = sorted(str(path) for path in toolchain.RUNTIME.glob("*.cpp"))
    command = ["g++", *toolchain.runtime_flags(), *sources, "-o", "output", "-ldl", "-lrt"]
    path = build(f"runtime-{runtime_key()}.so", [command])
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("emulator_allocate", pointer, (size, ctypes.c_int, ctypes.c_int, ctypes.c_int)),
        ("emulator_free", None, (pointer,)),
        ("emulator_mark_initialised", None, (pointer,)),
        ("emulator_array_at", pointer, (pointer,)),
        ("emulator_array_bytes", size, (pointer,)),
        ("emulator_live_regions", size, ()),
        (
            "emulator_launch",
            ctypes.c_int,
            (ctypes.POINTER(Launch), ctypes.POINTER(Reports), ctypes.POINTER(Counts)),
        ),
        ("emulator_module_base", ctypes.c_uint64, (pointer,)),
        ("emulator_trace_lines", ctypes.c_int, ()),
        ("emulator_trace", None, (ctypes.POINTER(TraceLine),)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
