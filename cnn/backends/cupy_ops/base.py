"""What every family of GPU operations shares: arrays, memory, launches."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.cupy_ops.launcher import Launcher
from cnn.backends.ops import Array
from cnn.backends.window import Window
from cnn.kernels import FOLDER, STRUCTS
from cnn.kernels.families.gemm_rules import Plan, choose


class CupyBase:
    """Holds the array module and the launcher. Arrays come from the module's memory pool."""

    name = "cupy"

    def __init__(
        self, xp: Any, *, device: str = "GPU", cublas: bool = False, plan: Plan = choose, folder: Path = FOLDER
    ) -> None:
        """`cublas` leaves dense layers to `xp.matmul`; `plan` chooses how the project's own products are computed.

        `folder` is where the kernels' text lies.
        """
        self.xp, self.device, self.cublas, self.plan = xp, device, cublas, plan
        self.launch = Launcher(xp, folder)

    def array(self, values: NDArray[Any]) -> Array:
        return self.xp.asarray(np.asarray(values, order="C"))  # `ascontiguousarray` would make a scalar (1,)

    def constant(self, values: NDArray[Any]) -> Array:
        return self.array(values)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        return self.xp.asnumpy(x)

    def zeros_like(self, x: Array) -> Array:
        return self.xp.zeros(x.shape, x.dtype)

    def aligned(self, *arrays: Array) -> bool:
        """Whether vectors of four floats may be read at the arrays' addresses."""
        return all(array.data.ptr % 16 == 0 for array in arrays)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An array without values yet; a kernel writes every element."""
        return self.xp.empty(shape, np.dtype(dtype))


@functools.lru_cache(maxsize=1024)
def window_struct(window: Window, n: int, c: int) -> NDArray[Any]:
    """The geometry that a kernel takes by value, for `n` pictures of `c` channels."""
    top, _, left, _ = window.padding
    numbers = (
        *(n, *window.input_hw, c),
        *window.output_hw,
        *window.kernel,
        *(*window.stride, *window.dilation, top, left),
    )
    return np.array([numbers], dtype=STRUCTS["Window2D"])
