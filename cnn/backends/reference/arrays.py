"""Creation, filling and reading of arrays, and helpers of all families of the reference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnn.backends.blocks import Array

FloatArray = NDArray[Any]

TENSOR_CORES = 80  # the least compute capability of tensor cores that multiply bfloat16 and TF32


class Arrays:
    """Arrays on the host."""

    name = "numpy"
    device: str = "CPU, plain NumPy"  # for the provenance of a run
    replays = False  # whether a captured function's Python code runs only in its first calls
    shares = False  # whether a batch is a part of a larger one, whose other parts are in other processes
    sums_gradients = False  # whether `conv2d_backward_input` adds in the pass that writes its result
    tf32: bool = False  # whether float32 products are computed from operands rounded to TF32, see `with_tf32`

    @property
    def capability(self) -> int:
        """The compute capability of a CUDA device, such as 90; 0 without one."""
        return 0

    def array(self, values: NDArray[Any] | Array) -> Array:
        """A copy on the backend of an array of the host or backend, with the same shape and dtype."""
        return np.array(values, order="C")

    def constant(self, values: NDArray[Any] | Array) -> Array:
        """As `array`, for values that will not change: the backend may cache values derived from them."""
        return self.array(values)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A C-contiguous array with undefined values."""
        return np.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A C-contiguous array of zeros."""
        return np.zeros(shape, dtype)

    def copy_in(self, target: Array, values: NDArray[Any]) -> None:
        """In place: set `target` to the values of a host array of its shape, converted to its dtype."""
        target[...] = values

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """The array on the host; waits for pending work. Not necessarily a copy."""
        return x

    def capture(self, step: Callable[[], Any]) -> Callable[[], Any]:
        """A function equal to `step`, recorded once if the backend can replay it. Here: `step` itself.

        A replay repeats the operations on the same arrays, without the Python code of `step`. Arrays that it returns
        are overwritten by the next call.
        """
        return step

    def beside(self, *read: Array) -> AbstractContextManager[None]:
        """Operations in this context may run beside those that follow it, until `join`: their results wait for that.

        `read` are the arrays that they read. Here they run in their place.
        """
        return contextlib.nullcontext()

    def join(self) -> None:
        """What follows may use the results of operations in `beside`."""

    def overwrite(self, target: Array, source: Array) -> None:
        """In place: set `target` to `source`, an array of the backend with the same shape and dtype."""
        target[...] = source

    def with_tf32(self) -> Self:
        """The same backend, with float32 products on tensor cores: the operands are rounded to TF32, sums are float32.

        TF32 has the exponent of float32 and 11 bits of precision. Raises ValueError for a backend without it.
        """
        raise ValueError(f"TF32 is of CUDA devices with tensor cores; backend {self.name} computes in float32")

    def stored(self, x: Array, storage: str) -> Array:
        """x rounded to the type `storage`: "float32" (x itself) or "bfloat16".

        bfloat16 has the exponent of float32 and 8 bits of precision. Values are rounded to nearest even; NaN stays NaN.
        The reference and the CPU engine keep the dtype of x; on CUDA the result has a dtype of its own, and x is
        returned if it has it already.
        """
        return x if storage == "float32" else round_to_bfloat16(x)


def round_to_bfloat16(x: FloatArray) -> FloatArray:
    """x rounded to the nearest bfloat16, ties to even, in x's dtype (float32 or float64)."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, rounded.view(np.float32)).astype(x.dtype, copy=False)


def into(out: FloatArray | None, values: FloatArray) -> FloatArray:
    """`values`, copied to `out` if it is given."""
    if out is None:
        return values
    out[...] = values
    return out


def rows_of(x: FloatArray) -> FloatArray:
    """x (..., c) reshaped to (rows, c)."""
    return x.reshape(-1, x.shape[-1])


def column_sum(rows: FloatArray) -> FloatArray:
    """Sum of rows (m, c) over m, accumulated in float64, in the dtype of rows: (c,)."""
    return rows.sum(axis=0, dtype=np.float64).astype(rows.dtype)


def pad(x: FloatArray, window: Any, value: float = 0) -> FloatArray:
    """x (n, h, w, c) with the window's padding, filled with `value`; x itself if there is none."""
    if not window.has_padding:
        return x
    padded = np.full((len(x), *window.padded_hw, x.shape[3]), value, x.dtype)
    padded[:, *window.inside] = x
    return padded
