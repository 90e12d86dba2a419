"""`DryRun`: a replacement of the module `cupy` that computes nothing.

With it the launches of a training step of any size are counted on a machine without a GPU: arrays are reserved and
never touched, so they take no memory, and kernels do nothing. Arrays from the host keep their values and are counted,
and so are launches by CuPy: arithmetic on arrays, indexing with arrays, zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from benchmarks.kernels.capture import Streams


@dataclass
class Traffic:
    """The counts and bytes of a dry run other than launches of our kernels."""

    uploads: int = 0
    uploaded: int = 0
    module_launches: int = 0  # by the array module
    module_bytes: int = 0

    def __sub__(self, other: Traffic) -> Traffic:
        """The difference since `other`."""
        return Traffic(*(mine - theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Device:
    """The only device: an H100."""

    id: int = 0
    compute_capability: str = "90"
    attributes: Mapping[str, int] = field(
        default_factory=lambda: {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 227 << 10}, compare=False
    )
    streams: Streams | None = field(default=None, compare=False)

    def synchronize(self) -> None:
        """Nothing runs."""
        if self.streams is not None:
            self.streams.forbid("waiting for the device")


class DryArray(np.ndarray):
    """An array without values, unless they are from the host."""

    traffic: ClassVar[Traffic]
    streams: ClassVar[Streams]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        """Arithmetic by the array module: counted as one launch that moves every array once."""
        given = [np.asarray(value) if isinstance(value, np.ndarray) else value for value in inputs]
        targets = None if out is None else tuple(np.asarray(value) for value in out)
        with np.errstate(all="ignore"):
            result = getattr(ufunc, method)(*given, **options, **({} if targets is None else {"out": targets}))
        moved = [plain.nbytes for plain, value in zip(given, inputs, strict=True) if isinstance(value, DryArray)]
        self._launched(np.asarray(result).nbytes + sum(moved))
        return out[0] if out is not None else np.asarray(result).view(type(self))

    def __getitem__(self, key: Any) -> Any:
        """A view; with an array as its key a copy, which the array module launches."""
        found = np.ndarray.__getitem__(self, np.asarray(key) if isinstance(key, np.ndarray) else key)
        if isinstance(key, np.ndarray):
            self._launched(2 * found.nbytes + key.nbytes)
        return found

    def _launched(self, moved: int) -> None:
        self.streams.forbid("arithmetic by the array module")  # CUDA would record it, but this stand-in does not
        self.traffic.module_launches += 1
        self.traffic.module_bytes += moved

    @property
    def data(self) -> SimpleNamespace:  # type: ignore[override]
        """Where it lies; CuPy has this where NumPy has the buffer."""
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])

    def set(self, values: np.ndarray) -> None:
        """Copies a host array, as in CuPy."""
        self.streams.forbid("an upload")
        self.traffic.uploads += 1
        self.traffic.uploaded += values.nbytes
        np.asarray(self)[...] = values

    @property
    def device(self) -> Device:  # type: ignore[override]
        """Where it lies."""
        return Device()


class DryRun:
    """The parts of `cupy` that the GPU backend uses, without a GPU and without arithmetic."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.ndarray: type[DryArray] = type("DryArray", (DryArray,), {"traffic": self.traffic})
        self.streams = self.ndarray.streams = Streams(self.ndarray)
        self.cuda = SimpleNamespace(Device=lambda: Device(streams=self.streams), **self.streams.namespace())

    def empty(self, shape: int | tuple[int, ...], dtype: Any = float) -> DryArray:
        """Reserved, not touched."""
        return self._new(np.empty(shape, dtype))

    def _new(self, memory: np.ndarray) -> DryArray:
        self.streams.allocated(memory)
        array: Any = memory.view(self.ndarray)
        return array

    def zeros(self, shape: int | tuple[int, ...], dtype: Any = float) -> DryArray:
        """Zeros of the system, which take no memory until they are written."""
        zeros = self._new(np.zeros(shape, dtype))
        zeros._launched(zeros.nbytes)
        return zeros

    def asarray(self, values: Any, dtype: Any = None) -> DryArray:
        """The values themselves."""
        if isinstance(values, DryArray):
            return values
        self.streams.forbid("an upload")
        array = self._new(np.array(values, dtype))
        self.traffic.uploads += 1
        self.traffic.uploaded += array.nbytes
        return array

    def asnumpy(self, array: Any) -> np.ndarray:
        """The array itself, whose values were not computed."""
        self.streams.forbid("a transfer to the host")
        return np.asarray(array)

    def RawModule(self, **_: Any) -> SimpleNamespace:
        """A module whose kernels do nothing."""
        self.streams.forbid("loading a module")
        return SimpleNamespace(get_function=lambda _: DryKernel(self.streams))


class DryKernel:
    """A kernel that does nothing, but can be recorded."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def __call__(self, grid: Any, block: Any, arguments: tuple[Any, ...], shared_mem: int = 0) -> None:
        """Launch it."""
        self._streams.submit(arguments, lambda _: None)
