"""`RawModule`: a kernel file compiled for the CPU."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from cuda_emulator import toolchain
from cuda_emulator.build_cache import build, fingerprint
from cuda_emulator.errors import EmulatorError
from cuda_emulator.launch import LaunchSettings, RawKernel
from cuda_emulator.runtime_library import runtime, runtime_key
from cuda_emulator.source import TranslationUnit, translation_unit


class RawModule:
    """The kernels of one `.cu` text. Compiled when the first of them is asked for, as in CuPy."""

    def __init__(
        self,
        settings: LaunchSettings,
        code: str,
        options: Sequence[str] = (),
        name_expressions: Iterable[str] | None = None,
    ) -> None:
        self._settings, self._code, self._options = settings, code, tuple(options)
        self._name_expressions = tuple(name_expressions or ())
        self._kernels: dict[str, RawKernel] = {}

    def get_function(self, name: str) -> RawKernel:
        """The kernel that is called `name`, one of the name expressions."""
        if name not in self._kernels:
            self._kernels[name] = self._kernel(name)
        return self._kernels[name]

    def signature(self, name: str) -> list[str]:
        """The kernel's parameters as the compiler saw them, such as `const float32*`, `int32`, `struct:72`."""
        return self.get_function(name).signature

    @functools.cached_property
    def _unit(self) -> TranslationUnit:
        return translation_unit(self._code, self._options, self._name_expressions)

    @functools.cached_property
    def _library(self) -> tuple[ctypes.CDLL, Path]:
        unit = self._unit
        if not unit.kernels:
            raise EmulatorError("the text has no kernel, or only templates that no name expression names")
        flags = toolchain.kernel_flags(self._settings.mode)
        key = fingerprint(unit.key, repr(flags), toolchain.compiler_version(), runtime_key(), _prelude_text())
        prelude = f"-I{_precompiled_prelude(flags).parent}"  # the first folder: g++ takes it there instead of the text
        compile_command = ["g++", "-c", prelude, *flags, *unit.options, unit.main, "-o", "kernel.o"]
        link_command = ["g++", "-shared", "-Wl,-Bsymbolic,-z,now", "kernel.o", "-o", "output"]
        runtime()  # its symbols must be there first
        path = build(f"{toolchain.build_of(self._settings.mode)}-{key}.so", [compile_command, link_command], unit.files)
        try:
            return ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL), path
        except OSError as error:
            raise EmulatorError(f"a kernel uses what the emulator does not have: {error}") from error

    def _kernel(self, name: str) -> RawKernel:
        if name not in self._unit.kernels:
            raise EmulatorError(f"no kernel is called '{name}'; there are: {', '.join(self._unit.kernels)}")
        number = self._unit.kernels.index(name)
        library, path = self._library
        describe = getattr(library, f"cuda_emulator_signature_{number}")
        describe.restype = ctypes.c_char_p
        signature = describe().decode().split(";")[:-1]
        names = self._unit.parameter_names.get(name.partition("<")[0].split("::")[-1].strip(), ())
        if len(names) != len(signature):
            names = tuple(f"#{position}" for position in range(len(signature)))
        call = ctypes.cast(getattr(library, f"cuda_emulator_call_{number}"), ctypes.c_void_p).value
        return RawKernel(self._settings, name, signature, names, call, path)


@functools.cache
def _precompiled_prelude(flags: tuple[str, ...]) -> Path:
    """What stands in front of every kernel file, compiled with these flags: a third of the time of a small file."""
    key = fingerprint(repr(flags), toolchain.compiler_version(), _prelude_text())
    command = ["g++", *flags, "-x", "c++-header", str(toolchain.INCLUDE / "prelude.h"), "-o", "output"]
    return build(f"prelude-{key}/prelude.h.gch", [command])


@functools.cache
def _prelude_text() -> str:
    return "".join(path.name + path.read_text() for path in sorted(toolchain.INCLUDE.glob("*.h")))
