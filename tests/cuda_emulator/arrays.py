"""Arrays in guarded memory: what stands for a GPU's arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.kernels.capture import forbid
from cuda_emulator.runtime_library import runtime

# As in runtime/regions.h.
PLACEMENTS = {"end": 0, "start": 1}
FILL_POISON, FILL_ZERO, FILL_HOST = 0, 1, 2


@dataclass(frozen=True)
class Device:
    """The one device there is."""

    id: int = 0
    compute_capability: str = "90"
    attributes: Mapping[str, int] = field(
        default_factory=lambda: {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 227 << 10}, compare=False
    )

    def synchronize(self) -> None:
        """Nothing runs behind the host's back."""


@dataclass(frozen=True)
class MemoryPointer:
    """Where an array lies, as in CuPy."""

    ptr: int


class _Memory:
    """A guarded region; freed when the last array that looks at it is gone."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], placement: int, fill: int, track: bool) -> None:
        elements = 1
        for length in shape:
            elements *= length
        library = runtime()
        self._free: Callable[[int], None] = library.emulator_free
        self.address = library.emulator_allocate(elements * dtype.itemsize, placement, fill, track)
        if not self.address:
            raise MemoryError(f"no room for an array of shape {shape}, {dtype}")
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "descr": dtype.descr,
            "data": (self.address, False),
        }

    def __del__(self) -> None:
        if getattr(self, "address", None):
            self._free(self.address)


class DeviceArray(np.ndarray):
    """An array that kernels take. NumPy works on it; what NumPy then allocates lies in ordinary memory."""

    @property
    def data(self) -> MemoryPointer:  # type: ignore[override]
        """The array's place in memory; CuPy has this where NumPy has the buffer."""
        return MemoryPointer(address_of(self))

    @property
    def device(self) -> Device:  # type: ignore[override]
        """Where the array lies."""
        return Device()

    def __setitem__(self, index: Any, value: Any) -> None:
        forbid("writing to an array without a kernel")  # CUDA would record some of it; this stand-in does not
        super().__setitem__(index, value)
        mark_initialised(self)

    def set(self, values: np.ndarray) -> None:
        """Takes over a host array of the same shape and dtype, as in CuPy."""
        if type(values) is not np.ndarray or values.dtype != self.dtype or values.shape != self.shape:
            raise TypeError(f"needs a NumPy array of {self.dtype}, {self.shape}")
        self[...] = values

    def fill(self, value: Any) -> None:
        """Sets every element."""
        forbid("filling an array without a kernel")
        super().fill(value)
        mark_initialised(self)


def address_of(array: np.ndarray) -> int:
    """Where the array's first element lies."""
    return array.__array_interface__["data"][0]


def mark_initialised(array: np.ndarray) -> None:
    """The host has written into the array, which the emulator does not see."""
    runtime().emulator_mark_initialised(address_of(array))


def new_array(
    shape: int | tuple[int, ...], dtype: Any, *, placement: int = 0, fill: int = FILL_POISON, track: bool = False
) -> DeviceArray:
    """An array in guarded memory. With `track` the checked build reports reads of what nobody wrote."""
    sizes = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(length) for length in shape)
    memory = _Memory(sizes, np.dtype(dtype), placement, fill, track)
    return np.asarray(memory).view(DeviceArray)
