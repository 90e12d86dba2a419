"""Parameter updates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.cupy_ops.base import CupyBase
from cnn.backends.cupy_ops.launcher import MOST_ELEMENTS
from cnn.backends.ops import Array
from cnn.kernels import STRUCTS
from cnn.kernels.families.optimizers import PIECE
from cnn.kernels.structs import TENSORS_PER_LAUNCH


class CupyUpdates(CupyBase):
    """Kernels in `cnn/kernels/optimizers.cu`. One launch updates up to `TENSORS_PER_LAUNCH` tensors."""

    def sgd_update(
        self,
        params: Sequence[Array],
        grads: Sequence[Array],
        velocities: Sequence[Array],
        *,
        learning_rate: float,
        momentum: float,
        nesterov: bool,
        weight_decay: Sequence[float],
        decoupled: bool,
    ) -> None:
        decay = _decay(weight_decay, learning_rate, decoupled)
        for tensors in self._tensor_lists({"param": params, "grad": grads, "first": velocities}, decay):
            self.launch("sgd_update", tensors, PIECE, learning_rate, momentum, int(nesterov), int(decoupled))

    def adam_update(
        self,
        params: Sequence[Array],
        grads: Sequence[Array],
        first_moments: Sequence[Array],
        second_moments: Sequence[Array],
        *,
        learning_rate: float,
        beta1: float,
        beta2: float,
        eps: float,
        step: int,
        weight_decay: Sequence[float],
        decoupled: bool,
    ) -> None:
        arrays = {"param": params, "grad": grads, "first": first_moments, "second": second_moments}
        step_size, correction2 = learning_rate / (1 - beta1**step), 1 / (1 - beta2**step)
        numbers = (step_size, beta1, 1 - beta1, beta2, 1 - beta2, correction2, eps, int(decoupled))
        for tensors in self._tensor_lists(arrays, _decay(weight_decay, learning_rate, decoupled)):
            self.launch("adam_update", tensors, PIECE, *numbers)

    def _tensor_lists(self, arrays: dict[str, Sequence[Array]], decay: Sequence[float]) -> Iterator[NDArray[Any]]:
        """The structs `TensorList` for all tensors, `TENSORS_PER_LAUNCH` at a time; `arrays` is by the struct's fields.

        The launch wrapper sees no array behind an address, so the arrays are checked here.
        """
        count, device = len(decay), self.xp.cuda.Device()
        for field, tensors in arrays.items():
            if len(tensors) != count:
                raise ValueError(f"{len(tensors)} arrays of '{field}' for {count} tensors")
            for i, tensor in enumerate(tensors):
                self._check(tensor, arrays["param"][i].shape, device, f"array {i} of '{field}'")
        for start in range(0, count, TENSORS_PER_LAUNCH):
            part = slice(start, min(start + TENSORS_PER_LAUNCH, count))
            filled = slice(0, part.stop - start)
            struct = np.zeros(1, STRUCTS["TensorList"])
            for field, tensors in arrays.items():
                struct[field][0, filled] = [tensor.data.ptr for tensor in tensors[part]]
            struct["size"][0, filled] = [tensor.size for tensor in arrays["param"][part]]
            struct["weight_decay"][0, filled] = decay[part]
            yield struct

    def _check(self, tensor: Array, shape: tuple[int, ...], device: Any, name: str) -> None:
        if not isinstance(tensor, self.xp.ndarray):
            raise TypeError(f"{name} must be an array on the device, not {type(tensor).__name__}")
        if tensor.dtype != np.float32:
            raise TypeError(f"{name} must be float32, not {tensor.dtype}")
        if tensor.shape != shape:
            raise ValueError(f"{name} must have the parameter's shape {shape}, not {tensor.shape}")
        if not tensor.flags.c_contiguous:
            raise ValueError(f"{name} must be C-contiguous; its shape is {shape}, its strides {tensor.strides}")
        if tensor.device != device:
            raise ValueError(f"{name} lies on {tensor.device}, but the current device is {device}")
        if tensor.size > MOST_ELEMENTS:
            raise ValueError(f"{name} has {tensor.size:,} elements; kernels index with 32 bits")


def _decay(weight_decay: Sequence[float], learning_rate: float, decoupled: bool) -> list[float]:
    """What the kernels take for a tensor's decay: decoupled, the share that a step takes off the parameter."""
    return [learning_rate * decay if decoupled else decay for decay in weight_decay]
