"""What CuPy makes of a kernel's arguments, compared with what the kernel wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuda_emulator.arrays import FILL_HOST, DeviceArray, address_of, new_array
from cuda_emulator.errors import EmulatorError
from cuda_emulator.runtime_library import runtime

POINTER_BYTES = 8


class Parameter:
    """One parameter of a kernel, from its compiled signature: `const float32*`, `int32`, `struct:72`."""

    def __init__(self, kernel: str, number: int, name: str, type_name: str) -> None:
        self._kernel, self.number, self.name, self.type_name = kernel, number, name, type_name
        self.pointer = type_name.endswith("*")
        self.const = self.pointer and type_name.startswith("const ")
        self.struct = not self.pointer and type_name.startswith("struct:")
        self._pointee = type_name.removeprefix("const ").removesuffix("*")
        self._dtype = self._numpy_type()  # None where any will do, or only the size counts
        self.bytes = self._size()

    def __str__(self) -> str:
        return f"argument {self.number} ({self.name})"

    def accept(self, given: Any, stand_ins: StandIns) -> bytes:
        """The bytes that the kernel gets. Raises EmulatorError if `given` is not what it wants."""
        if not self.pointer:
            return self._value(given)
        if given is None:
            return bytes(POINTER_BYTES)
        if not isinstance(given, DeviceArray):
            raise self._error(f"must be an array on the device, not {_kind(given)}")
        if self._dtype is not None and given.dtype != self._dtype:
            raise self._error(f"must be an array of {self._pointee}, not of {given.dtype}")
        if not given.flags.c_contiguous:
            raise self._error(f"must be C-contiguous; its shape is {given.shape}, its strides {given.strides}")
        address = address_of(given)
        if not runtime().emulator_array_at(address):
            address = stand_ins.stand_in(given, self.const)
        return address.to_bytes(POINTER_BYTES, "little")

    def _numpy_type(self) -> np.dtype[Any] | None:
        name = self._pointee
        # An array has no vector type: a pointer to float4 and its like takes any.
        return None if name in ("void", "pointer") or name.startswith("struct:") else np.dtype(name)

    def _size(self) -> int:
        if self.struct:
            return int(self.type_name.partition(":")[2])
        return POINTER_BYTES if self.pointer or self._dtype is None else self._dtype.itemsize

    def _value(self, given: Any) -> bytes:
        if isinstance(given, bool | int | float):
            given = (np.bool_ if isinstance(given, bool) else np.int64 if isinstance(given, int) else np.float64)(given)
        if isinstance(given, DeviceArray) or not isinstance(given, np.generic | np.ndarray) or given.size != 1:
            raise self._error(f"must be one {self.type_name} by value, not {_kind(given)}")
        right = given.nbytes == self.bytes if self.struct else given.dtype == self._dtype
        if not right:
            raise self._error(f"must be {self.type_name}, not {_kind(given)}")
        return given.tobytes()

    def _error(self, message: str) -> EmulatorError:
        return EmulatorError(f"{self._kernel}: {self} {message}")


def _kind(given: Any) -> str:
    if isinstance(given, np.generic):
        return f"{given.dtype}" if not given.dtype.fields else f"a struct of {given.nbytes} bytes"
    if isinstance(given, np.ndarray):
        where = "on the device" if isinstance(given, DeviceArray) else "on the host"
        return f"an array {where} of shape {given.shape}, {given.nbytes} bytes"
    return type(given).__name__


@dataclass
class StandIns:
    """Guarded copies of arrays that lie in ordinary memory, for one launch."""

    placement: int
    _copies: dict[tuple[int, int], tuple[np.ndarray, DeviceArray]] = field(default_factory=dict)
    _written: set[tuple[int, int]] = field(default_factory=set)

    def stand_in(self, array: DeviceArray, const: bool) -> int:
        """The address of a copy; the same array has one copy."""
        key = address_of(array), array.nbytes
        if key not in self._copies:
            for begin, size in self._copies:
                if key[0] < begin + size and begin < key[0] + key[1]:
                    raise EmulatorError(
                        "two arguments are overlapping views of an array in ordinary memory; "
                        "allocate it with empty, zeros or asarray"
                    )
            copy = new_array(array.shape, array.dtype, placement=self.placement, fill=FILL_HOST)
            copy[...] = array
            self._copies[key] = array, copy
        if not const:
            self._written.add(key)
        return address_of(self._copies[key][1])

    def copy_back(self) -> None:
        """Gives the host's arrays what the kernel wrote."""
        for key in self._written:
            array, copy = self._copies[key]
            array[...] = copy
