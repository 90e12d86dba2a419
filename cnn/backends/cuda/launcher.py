"""The launch wrapper: checks the arguments of a kernel, which CuPy does not, and launches it by name.

CuPy's `RawKernel` validates nothing: it reads a transposed view as if it were contiguous and passes a Python float
as a double. Here every argument is compared with the kernel table before the launch. Nothing waits for the device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnn.kernels import (
    FOLDER,
    KERNELS,
    STRUCTS,
    Argument,
    Kernel,
    compile_options,
    compiled_with,
    kernels_of,
    options_for_nvrtc,
    source_text,
)

# The most elements for a kernel's 32-bit indices.
MOST_ELEMENTS = 2**31 - 1

# The most blocks that CUDA launches along x, y and z.
MOST_BLOCKS = (2**31 - 1, 65_535, 65_535)

# The dynamic shared memory of a block by default; for more, an attribute of the function must be set.
SHARED_BYTES = 48 << 10


class Launcher:
    """Compiles a `.cu` file on first use, its kernels of one storage type together, and launches them.

    Kernels that the table has compiled alone are so when they are first launched.

    `xp` is the module `cupy`, or one with the same interface. `observe`, if set, is called with the kernel and its
    arguments by name before each launch.
    """

    def __init__(self, xp: Any, folder: Path = FOLDER) -> None:
        self.xp, self.folder = xp, folder
        self.observe: Callable[[Kernel, dict[str, Any]], None] | None = None
        self._functions: dict[str, Any] = {}
        self._shared: dict[str, int] = {}  # the limit set for functions that need more than SHARED_BYTES

    def __call__(self, name: str, *arguments: Any) -> None:
        """Launch the kernel `name`. Raises TypeError or ValueError for arguments that do not fit it.

        A grid without blocks launches nothing.
        """
        kernel = KERNELS.get(name)
        if kernel is None:
            raise ValueError(f"the kernel table has no kernel {name!r}")
        if len(arguments) != len(kernel.arguments):
            names = ", ".join(argument.name for argument in kernel.arguments)
            raise TypeError(f"kernel {name} takes {len(kernel.arguments)} arguments ({names}), not {len(arguments)}")
        device = self.xp.cuda.Device()
        passed, values = [], {}
        for expected, given in zip(kernel.arguments, arguments, strict=True):
            if expected.pointer:
                passed.append(self._array(name, expected, given, device))
            else:
                value = _scalar(name, expected, given)
                passed.append(value)
                values[expected.name] = _as_mapping(value)
        grid = kernel.grid(values)
        if min(grid) < 1:
            return
        if any(blocks > most for blocks, most in zip(grid, MOST_BLOCKS, strict=False)):
            raise ValueError(f"kernel {name} would take a grid of {grid} blocks; CUDA launches at most {MOST_BLOCKS}")
        if self.observe:
            self.observe(kernel, dict(zip((a.name for a in kernel.arguments), passed, strict=True)))
        function = self._function(kernel)
        if shared := kernel.dynamic_shared_bytes(values):
            if shared > max(SHARED_BYTES, self._shared.get(name, 0)):
                function.max_dynamic_shared_size_bytes = self._shared[name] = shared
            function(grid, kernel.block, tuple(passed), shared_mem=shared)
        else:
            function(grid, kernel.block, tuple(passed))

    def _array(self, kernel: str, expected: Argument, given: Any, device: Any) -> Any:
        where = f"argument {expected.name} of kernel {kernel}"
        if given is None:
            if not expected.optional:
                raise TypeError(f"{where} must be an array, not None")
            return None
        if not isinstance(given, self.xp.ndarray):
            raise TypeError(f"{where} must be an array on the device, not {_describe(given)}")
        if given.dtype != expected.dtype:
            raise TypeError(f"{where} must be {expected.dtype}, not {given.dtype}")
        if not given.flags.c_contiguous:
            raise ValueError(f"{where} must be C-contiguous; its shape is {given.shape}, its strides {given.strides}")
        if given.device != device:
            raise ValueError(f"{where} is on {given.device}, but the current device is {device}")
        if given.size > MOST_ELEMENTS:
            raise ValueError(
                f"{where} has {given.size:,} elements; kernels index with 32 bits, "
                "so the batch, or this split of the data, must be smaller"
            )
        return given

    def _function(self, kernel: Kernel) -> Any:
        function = self._functions.get(kernel.name)
        if function is None:
            siblings = compiled_with(kernel, self._architecture(kernel))
            module = self.xp.RawModule(
                code=source_text(kernel.source, self.folder),
                options=(*compile_options(self.folder, kernel.target), *self._nvrtc_options()),
                name_expressions=[sibling.expression for sibling in siblings],
            )
            for sibling in siblings:
                self._functions[sibling.name] = module.get_function(sibling.expression)
            function = self._functions[kernel.name]
        return function

    def _nvrtc_options(self) -> tuple[str, ...]:
        nvrtc = getattr(self.xp.cuda, "nvrtc", None)  # the emulator has none
        return () if nvrtc is None else options_for_nvrtc(nvrtc.getVersion())

    def _architecture(self, kernel: Kernel) -> int | None:
        """The device's compute capability, such as 90; None if the kernel's file does not depend on it."""
        if not any(sibling.min_arch for sibling in kernels_of(kernel.source)):
            return None
        architecture = int(self.xp.cuda.Device().compute_capability)
        if not kernel.runs_on(architecture):
            alone = " and no other" if kernel.target else ""
            raise ValueError(
                f"kernel {kernel.name} needs compute capability {kernel.min_arch / 10}{alone}, but the device has "
                f"{architecture / 10}"
            )
        return architecture


def _scalar(kernel: str, expected: Argument, given: Any) -> Any:
    where = f"argument {expected.name} of kernel {kernel}"
    if expected.dtype.fields:
        if not isinstance(given, np.ndarray) or given.dtype != expected.dtype or given.size != 1:
            raise TypeError(f"{where} must be one struct {_dtype_name(expected.dtype)}, not {_describe(given)}")
        return given
    if expected.dtype.kind in "iu":
        if not isinstance(given, int | np.integer) or isinstance(given, bool):
            raise TypeError(f"{where} must be a whole number, not {_describe(given)}")
        least, most = _bounds(expected.dtype)
        if not least <= given <= most:
            raise ValueError(f"{where} must fit {expected.dtype}, but is {given}")
    else:
        if not isinstance(given, int | float | np.integer | np.floating) or isinstance(given, bool):
            raise TypeError(f"{where} must be a number, not {_describe(given)}")
        least, most = _bounds(expected.dtype)
        if -np.inf < given < least or most < given < np.inf:
            raise ValueError(f"{where} must fit {expected.dtype}, but is {given}")
    return expected.dtype.type(given)


@functools.cache
def _bounds(dtype: np.dtype[Any]) -> tuple[int | float, int | float]:
    """The least and the largest finite number of this dtype."""
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return float(np.finfo(dtype).min), float(np.finfo(dtype).max)


def _describe(given: Any) -> str:
    """A short description of a wrong argument."""
    if isinstance(given, np.ndarray):
        elements = f"{given.size:,} element{'' if given.size == 1 else 's'}"
        return f"a {type(given).__module__} array of {elements} of {_dtype_name(given.dtype)}"
    if given is None or isinstance(given, bool | int | float | np.generic):
        return repr(given)
    return f"a {type(given).__qualname__}"


def _dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a struct, or of a dtype without fields; without the long list of fields."""
    if not dtype.fields:
        return str(dtype)
    known = [name for name, struct in STRUCTS.items() if struct == dtype]
    return known[0] if known else f"a struct of {len(dtype.fields)} fields"


def _as_mapping(value: Any) -> Any:
    """A scalar as a Python number, a struct as its fields by name."""
    return _fields(value.dtype, value.tobytes()) if isinstance(value, np.ndarray) else value.item()


@functools.lru_cache(maxsize=1024)  # a network uses the same few geometries in all launches
def _fields(dtype: np.dtype[Any], data: bytes) -> dict[str, Any]:
    record = np.frombuffer(data, dtype)[0]
    return {field: record[field].tolist() for field in dtype.names or ()}
