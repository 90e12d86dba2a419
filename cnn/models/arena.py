"""An arena: many tensors in one array of the backend, so that an update is one memory pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn.backends import Array, Ops

_ALIGNMENT = 16  # elements: every tensor is aligned to 64 bytes


class Arena:
    """One flat array, and its tensors by name. Elements between two tensors are always zero."""

    def __init__(self, ops: Ops, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        offsets, size = [], 0
        for shape in shapes.values():
            offsets.append(size)
            size += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        self._ops, self._shapes, self._offsets = ops, dict(shapes), dict(zip(shapes, offsets, strict=True))
        self._cut(ops.zeros((size,), dtype))

    def _cut(self, flat: Array) -> None:
        self.flat = flat
        self.tensors: dict[str, Array] = {
            name: flat[offset : offset + math.prod(shape)].reshape(shape)
            for (name, shape), offset in zip(self._shapes.items(), self._offsets.values(), strict=True)
        }

    def stored(self, storage: str) -> Arena:
        """A copy whose values are rounded to the type `storage`, as by `Ops.stored`."""
        other = copy.copy(self)
        other._cut(self._ops.stored(self.flat, storage))
        return other

    def begin(self, name: str) -> int:
        """The index of the first element of the tensor `name` in the flat array."""
        return self._offsets[name]

    def fill(self, values: Mapping[str, np.ndarray]) -> None:
        """In place: set every tensor to the values of its name, in one transfer."""
        flat = np.zeros(self.flat.size, self.flat.dtype)
        for name, offset in self._offsets.items():
            flat[offset : offset + values[name].size] = values[name].reshape(-1)
        self._ops.copy_in(self.flat, flat)

    def on_host(self) -> dict[str, np.ndarray]:
        """Copies of all tensors on the host, in one transfer."""
        flat = np.array(self._ops.to_numpy(self.flat))
        return {
            name: flat[offset : offset + tensor.size].reshape(tensor.shape).copy()
            for (name, tensor), offset in zip(self.tensors.items(), self._offsets.values(), strict=True)
        }
