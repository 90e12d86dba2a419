"""`Emulator`: stands where the module `cupy` stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from benchmarks.kernels.capture import Streams
from cuda_emulator.arrays import (
    FILL_HOST,
    FILL_POISON,
    FILL_ZERO,
    PLACEMENTS,
    Device,
    DeviceArray,
    mark_initialised,
    new_array,
)
from cuda_emulator.errors import EmulatorError
from cuda_emulator.launch import ORDERS, LaunchSettings
from cuda_emulator.module import RawModule
from cuda_emulator.toolchain import unavailable


class Emulator:
    """What this project's code uses of `cupy`, with kernels that run on the CPU.

    `mode` "fast" finds what faults, diverges or hangs; "checked" sees every access, and finds races, reads of what
    nobody wrote, and the exact bounds; "traced" counts in `trace` too what a GPU's memory would
    make of them. `order` is the order in which threads and blocks get their turn: a result that
    depends on it is a race. A launch may take `timeout_s` seconds of CPU time. `guard` says which end of an array
    lies against a page that faults.
    """

    ndarray = DeviceArray

    def __init__(
        self,
        mode: Literal["fast", "checked", "traced"] = "fast",
        order: Literal["forward", "reverse", "shuffled"] = "forward",
        seed: int = 0,
        timeout_s: float = 60,
        *,
        guard: Literal["end", "start"] = "end",
    ) -> None:
        if mode not in ("fast", "checked", "traced") or order not in ORDERS or guard not in PLACEMENTS:
            raise ValueError(f"there is no mode {mode!r}, order {order!r} or guard {guard!r}")
        if reason := unavailable():
            raise EmulatorError(reason)
        self.streams = Streams(DeviceArray)
        self._settings = LaunchSettings(mode, order, seed, timeout_s, PLACEMENTS[guard], self.streams)
        self.trace = self._settings.trace
        self.cuda = SimpleNamespace(Device=Device, **self.streams.namespace())

    def empty(self, shape: int | tuple[int, ...], dtype: Any = float) -> DeviceArray:
        """An array of poison: every byte is 0xFF, so every float is NaN."""
        return self._new(shape, dtype, FILL_POISON, track=self._settings.mode != "fast")

    def zeros(self, shape: int | tuple[int, ...], dtype: Any = float) -> DeviceArray:
        """An array of zeros."""
        array = self._new(shape, dtype, FILL_ZERO)
        if self.streams.recording:
            self.streams.submit([array], lambda arrays: arrays[0].fill(0))
        return array

    def asarray(self, values: Any, dtype: Any = None) -> DeviceArray:
        """A copy on the device; what is there already is returned as it is."""
        if isinstance(values, DeviceArray) and dtype in (None, values.dtype):
            return values
        self.streams.forbid("an upload")
        source = np.asarray(values, dtype)
        array = self._new(source.shape, source.dtype, FILL_HOST)
        np.copyto(array.view(np.ndarray), source)
        return array

    def asnumpy(self, array: Any) -> np.ndarray:
        """A copy on the host."""
        self.streams.forbid("a transfer to the host")
        return np.array(array, subok=False)

    def matmul(self, a: DeviceArray, b: DeviceArray, out: DeviceArray | None = None) -> DeviceArray:
        """The matrix product, by NumPy."""
        self.streams.forbid("a product by the array module")  # CUDA would record it; this stand-in does not
        left, right = a.view(np.ndarray), b.view(np.ndarray)
        if out is None:
            return self.asarray(np.matmul(left, right))
        np.matmul(left, right, out=out.view(np.ndarray))
        mark_initialised(out)
        return out

    def RawModule(
        self, code: str, options: Sequence[str] = (), name_expressions: Iterable[str] | None = None, **_: Any
    ) -> RawModule:
        """The kernels of a `.cu` text; compiled when the first of them is asked for."""
        self.streams.forbid("loading a module")
        return RawModule(self._settings, code, options, name_expressions)

    def _new(self, shape: int | tuple[int, ...], dtype: Any, fill: int, track: bool = False) -> DeviceArray:
        array = new_array(shape, dtype, placement=self._settings.placement, fill=fill, track=track)
        self.streams.allocated(array.base)
        return array
