"""`DryRun`: stands where the module `cupy` stands, and computes nothing.

With it a training step of any size tells what it launches, on a machine without a GPU: arrays are reserved and never
touched, so they take no memory, and kernels do nothing. What comes from the host keeps its values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Device:
    """The one device there is."""

    id: int = 0

    def synchronize(self) -> None:
        """Nothing runs."""


class DryArray(np.ndarray):
    """An array whose values nobody may ask for, unless they came from the host."""

    @property
    def data(self) -> SimpleNamespace:  # type: ignore[override]
        """Where it lies; CuPy has this where NumPy has the buffer."""
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])

    @property
    def device(self) -> Device:  # type: ignore[override]
        """Where it lies."""
        return Device()


class DryRun:
    """What the GPU backend uses of `cupy`, without a GPU and without arithmetic."""

    ndarray = DryArray

    def __init__(self) -> None:
        self.cuda = SimpleNamespace(Device=Device)

    def empty(self, shape: int | tuple[int, ...], dtype: Any = float) -> DryArray:
        """Reserved, not touched."""
        return np.empty(shape, dtype).view(DryArray)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any = float) -> DryArray:
        """The system's zeros, which take no memory until someone writes."""
        return np.zeros(shape, dtype).view(DryArray)

    def asarray(self, values: Any, dtype: Any = None) -> DryArray:
        """The values themselves."""
        return values if isinstance(values, DryArray) else np.array(values, dtype).view(DryArray)

    def asnumpy(self, array: Any) -> np.ndarray:
        """As it is: values that nobody computed."""
        return np.asarray(array)

    def RawModule(self, **_: Any) -> SimpleNamespace:
        """A module whose kernels do nothing."""
        return SimpleNamespace(get_function=_no_kernel)


def _no_kernel(_: str) -> Callable[..., None]:
    return lambda grid, block, arguments: None
