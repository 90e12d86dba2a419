"""Compiles kernels with NVRTC for any architecture without a GPU, and reads their use of resources.

CuPy's call to NVRTC needs a driver. This module uses `cuda-bindings`, which finds the library in its wheel (the extra
`kernels`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn.kernels.kernel import Kernel
from cnn.kernels.sources import FOLDER, compile_options, options_for_nvrtc, source_text
from cnn.kernels.table import kernels_of
from foundation.extras import install_command

# The supported compute capabilities: Turing, Ampere (twice), Ada, Hopper, Blackwell (twice).
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

# The first NVRTC with sm_100 and sm_120.
OLDEST_NVRTC = (12, 8)

_ERROR = re.compile(r"^(?P<file>.+)\((?P<line>\d+)\): (?:catastrophic )?error: (?P<message>.*)$", re.MULTILINE)
_ERROR_WITHOUT_LINE = re.compile(r"^.*\berror\s*:\s*(?P<message>.*)$", re.MULTILINE)
_WARNING = re.compile(r"^.+\(\d+\): warning .*$", re.MULTILINE)
# What ptxas does not call a warning, such as that it makes the products of a warpgroup wait for each other.
_LOSS = re.compile(r"^ptxas .*Potential Performance Loss.*$", re.MULTILINE)
_NAMES_FILE = "__nv_name_map"  # NVRTC's file name in errors of a name expression


class NvrtcMissingError(RuntimeError):
    """NVRTC is missing or too old; the message is one line."""


class CompileError(RuntimeError):
    """NVRTC could not compile a kernel file. `file` and `line` are its place, if known; `log` is NVRTC's log."""

    def __init__(self, source: str, architecture: int, log: str) -> None:
        self.source, self.architecture, self.log = source, architecture, log.strip()
        self.file, self.line = source, 0
        where, message = source, self.log
        if found := _ERROR.search(log):
            message = found["message"]
            if found["file"] == _NAMES_FILE:
                where = f"{source}, a name in the kernel table"
            else:
                self.file, self.line = found["file"], int(found["line"])
                where = f"{self.file}:{self.line}"
        elif found := _ERROR_WITHOUT_LINE.search(log):
            message = found["message"]
        super().__init__(f"{where}: {message} (compiling {source} for sm_{architecture})\n{self.log}")


@dataclass(frozen=True)
class Resources:
    """The resources of one kernel as ptxas reports them. Sizes are in bytes."""

    registers: int  # per thread
    shared: int  # per block, static
    stack: int  # per thread, in local memory, with that of the functions it calls
    spill_stores: int
    spill_loads: int
    constant: int  # with arguments; 0 from sm_90 on, where ptxas does not report it

    @property
    def spills(self) -> int:
        """Bytes spilled to local memory and loaded back, because there are too few registers."""
        return self.spill_stores + self.spill_loads


@dataclass(frozen=True)
class Compiled:
    """One kernel file compiled for one architecture."""

    source: str
    architecture: int
    cubin_bytes: int
    kernels: Mapping[str, Resources]  # by the kernel table's names
    warnings: tuple[str, ...]


def nvrtc_version() -> tuple[int, int]:
    """The version of NVRTC, such as (13, 0). Raises `NvrtcMissingError` if it is missing or too old."""
    wanted = ".".join(map(str, OLDEST_NVRTC))
    try:
        from cuda.bindings import nvrtc  # noqa: PLC0415 - only needed to compile

        status, major, minor = nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:  # the bindings or the library are missing
        reason = str(error).strip().partition("\n")[0]
        raise NvrtcMissingError(
            f"NVRTC {wanted} or newer is needed: {install_command('kernels')} ({reason})"
        ) from error
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise NvrtcMissingError(f"NVRTC does not return its version: {status.name}")
    if (major, minor) < OLDEST_NVRTC:
        raise NvrtcMissingError(f"NVRTC {major}.{minor} is too old for the kernels: {wanted} or newer is needed")
    return major, minor


def compile_file(source: str, architecture: int, folder: Path = FOLDER) -> Compiled:
    """Compile the kernel file `source` with all of its kernels in the table for the architecture, by targets.

    Raises `CompileError`.
    """
    kernels = kernels_of(source, architecture)
    names: dict[str, dict[str, str]] = {}
    for kernel in kernels:
        names.setdefault(kernel.target, {})[kernel.name] = kernel.expression
    text = source_text(source, folder)
    parts = [compile_text(text, source, each, architecture, folder, target) for target, each in names.items()]
    return Compiled(
        source,
        architecture,
        sum(part.cubin_bytes for part in parts),
        {kernel.name: part.kernels[kernel.name] for kernel in kernels for part in parts if kernel.name in part.kernels},
        tuple(warning for part in parts for warning in part.warnings),
    )


def compile_text(
    text: str, source: str, names: Mapping[str, str], architecture: int, folder: Path = FOLDER, target: str = ""
) -> Compiled:
    """Compile `text`, called `source` in messages; `names` maps a kernel's name to its C++ name expression.

    `target` is the variant of the architecture that a kernel needs, such as "90a".

    NVRTC runs without Python's lock, so threads compile in parallel.
    """
    cubin, log, lowered = _compile(text, source, names, architecture, folder, target)
    found = read_ptxas(log)
    kernels = {name: found[mangled] for name, mangled in lowered.items()}
    return Compiled(source, architecture, len(cubin), kernels, warnings_of(log))


def machine_code(kernel: Kernel, architecture: int, folder: Path = FOLDER) -> tuple[bytes, Resources, tuple[str, ...]]:
    """The cubin of one kernel for the architecture, what it takes, and warnings. Raises `CompileError`."""
    text = source_text(kernel.source, folder)
    names = {kernel.name: kernel.expression}
    cubin, log, lowered = _compile(text, kernel.source, names, architecture, folder, kernel.target)
    return cubin, read_ptxas(log)[lowered[kernel.name]], warnings_of(log)


def _compile(
    text: str, source: str, names: Mapping[str, str], architecture: int, folder: Path, target: str
) -> tuple[bytes, str, dict[str, str]]:
    """The cubin, what ptxas says, and the mangled names."""
    version = nvrtc_version()
    from cuda.bindings import nvrtc  # noqa: PLC0415

    # CuPy always adds -ftz=true.
    sm = f"--gpu-architecture=sm_{target or architecture}"
    options = [*compile_options(folder), *options_for_nvrtc(version), "-ftz=true", sm, "--ptxas-options=-v"]
    with _program(nvrtc, text, source) as program:
        for expression in names.values():
            _checked(nvrtc, nvrtc.nvrtcAddNameExpression(program, expression.encode()))
        status, *_ = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        log = _log(nvrtc, program)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise CompileError(source, architecture, log or status.name)
        cubin = bytes(_checked(nvrtc, nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc, nvrtc.nvrtcGetCUBIN(program, cubin))  # writes into it
        lowered = {
            name: _checked(nvrtc, nvrtc.nvrtcGetLoweredName(program, expression.encode())).decode()
            for name, expression in names.items()
        }
    return cubin, log, lowered


def warnings_of(log: str) -> tuple[str, ...]:
    """The compiler's warnings in its log, and what ptxas says of code that will be slow."""
    return (*_WARNING.findall(log), *_LOSS.findall(log))


def read_ptxas(log: str) -> dict[str, Resources]:
    """The output of `ptxas -v` for each kernel, by mangled name.

    A function that was not inlined is reported after the kernel that calls it; its spills are added to the kernel's.
    """
    found: dict[str, Resources] = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        used = re.search(r"Used (\d+) registers.*", part)
        if not used:
            continue
        frames = [tuple(map(int, numbers)) for numbers in re.findall(_FRAME, part)]
        found[part.partition("'")[0]] = Resources(
            registers=int(used[1]),
            shared=_sum(r"(\d+) bytes smem", used[0]),
            stack=max([_sum(r"(\d+) bytes cumulative stack", used[0]), *(stack for stack, _, _ in frames)]),
            spill_stores=sum(stores for _, stores, _ in frames),
            spill_loads=sum(loads for _, _, loads in frames),
            constant=_sum(r"(\d+) bytes cmem", used[0]),
        )
    return found


_FRAME = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"


def _sum(pattern: str, text: str) -> int:
    return sum(map(int, re.findall(pattern, text)))


@contextmanager
def _program(nvrtc: Any, text: str, source: str) -> Iterator[Any]:
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(text.encode(), source.encode(), 0, [], []))
    try:
        yield program
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _log(nvrtc: Any, program: Any) -> str:
    buffer = bytes(_checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program)))
    _checked(nvrtc, nvrtc.nvrtcGetProgramLog(program, buffer))  # writes into the buffer
    return buffer.decode(errors="replace").rstrip("\0 \n")


def _checked(nvrtc: Any, answer: tuple[Any, ...]) -> Any:
    status, *values = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC: {status.name}")
    return values[0] if values else None
