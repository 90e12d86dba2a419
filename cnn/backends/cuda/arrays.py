"""Arrays on the device, and the base of all families of operations: memory, launches, geometry."""

from __future__ import annotations

import contextlib
import copy
import functools
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnn.backends.blocks import Array
from cnn.backends.cuda.graph import RecordedStep, SideStream
from cnn.backends.cuda.launcher import Launcher
from cnn.backends.reference.arrays import TENSOR_CORES
from cnn.backends.window import Window
from cnn.kernels import FOLDER, STORAGES, STRUCTS, SUFFIXES
from cnn.kernels.families.gemm_rules import Plan, choose
from cnn.kernels.families.tensor_plan import TensorPlan, estimate

# The dtype of arrays with bfloat16 bits: neither NumPy nor CuPy has the type.
BFLOAT16 = np.dtype(np.uint16)

_FEWEST_COUNTERS = 4096


class CudaArrays:
    """Has the array module and the launcher. Arrays are from the module's memory pool."""

    name = "cupy"

    def __init__(
        self,
        xp: Any,
        *,
        device: str = "GPU",
        cublas: bool = False,
        tf32: bool = False,
        graph: bool = True,
        plan: Plan = choose,
        tensor_plan: TensorPlan = estimate,
        folder: Path = FOLDER,
    ) -> None:
        """With `cublas` dense layers run `xp.matmul`; `plan` selects the variant of the project's own products, and
        `tensor_plan` that of products by tensor cores.

        With `tf32` the products of float32 arrays that tensor cores can compute round their operands to tf32, 11 bits
        of precision; sums stay float32. With `graph` a captured step is a CUDA graph; not with `cublas`, whose
        workspace is not in the graph's memory. `folder` has the source of the kernels.
        """
        self.xp, self.device, self.cublas, self.tf32 = xp, device, cublas, tf32
        self.plan, self.tensor_plan = plan, tensor_plan
        self.launch = Launcher(xp, folder)
        self.replays = graph and not cublas
        self._recorded: weakref.WeakSet[RecordedStep] = weakref.WeakSet()
        self._side: SideStream | None = None  # while a captured step runs or is recorded
        self._counters: dict[int, list[Array]] = {}  # by stream, each longer than the one before

    def capture(self, step: Callable[[], Any]) -> Callable[[], Any]:
        if not self.replays:
            return step
        side = SideStream(self.xp.cuda)

        def with_side_stream() -> Any:
            self._side = side
            try:
                return step()
            finally:
                self._side = None
                side.join()

        recorded = RecordedStep(self.xp, with_side_stream)
        self._recorded.add(recorded)
        return recorded

    def beside(self, *read: Array) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self._side is None else self._side.beside(*read)

    def join(self) -> None:
        if self._side is not None:
            self._side.join()

    def recorded_bytes(self) -> int:
        """Bytes of the device in the memory pools of captured steps."""
        return sum(recorded.pool_bytes for recorded in self._recorded)

    def array(self, values: NDArray[Any] | Array) -> Array:
        """A copy on the device of a NumPy or device array, with the same shape and dtype."""
        if isinstance(values, self.xp.ndarray):
            return values.copy()
        return self.xp.asarray(np.asarray(values, order="C"))  # `ascontiguousarray` would make a scalar (1,)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A C-contiguous array with undefined values."""
        return self.xp.empty(shape, np.dtype(dtype))

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A C-contiguous array of zeros."""
        return self.xp.zeros(shape, np.dtype(dtype))

    def copy_in(self, target: Array, values: NDArray[Any]) -> None:
        """In place: set `target` to the values of a host array of its shape, converted to its dtype."""
        target.set(np.asarray(values, target.dtype, order="C"))

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """The array on the host; waits for pending work. bfloat16 becomes float32."""
        values = self.xp.asnumpy(x)
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32) if values.dtype == BFLOAT16 else values

    @property
    def capability(self) -> int:
        """The compute capability of the current device, such as 90."""
        return int(self.xp.cuda.Device().compute_capability)

    def with_tf32(self) -> Self:
        """This backend with `tf32` set; both share compiled kernels and memory."""
        if self.capability < TENSOR_CORES:
            raise ValueError(f"TF32 needs compute capability 8.0, but the device has {self.capability / 10}")
        other = copy.copy(self)
        other.tf32 = True
        return other

    def stored(self, x: Array, storage: str) -> Array:
        """x as an array of "float32" or "bfloat16", rounded to nearest even; x itself if it is one already."""
        dtype = BFLOAT16 if storage == "bfloat16" else np.dtype(np.float32)
        if x.dtype == dtype:
            return x
        y = self.empty(x.shape, dtype)
        self.launch("round_to_bf16" if dtype == BFLOAT16 else "widen_bf16", x, y, y.size)
        return y

    def floats(self, *shape: int) -> Array:
        """A float32 array with undefined values; a kernel then writes every element."""
        return self.empty(shape, np.float32)

    def counters(self, count: int) -> Array:
        """At least `count` zeros, uint32, for the blocks of a launch to meet at (`merge.cuh`), which leaves zeros.

        Launches on one stream follow each other and have the same ones. None is ever freed, as graphs have addresses.
        """
        of_stream = self._counters.setdefault(self.xp.cuda.get_current_stream().ptr, [])
        if not of_stream or of_stream[-1].size < count:
            of_stream.append(self.zeros((max(_FEWEST_COUNTERS, 2 * count),), np.uint32))
        return of_stream[-1][:count]

    def parts(self, count: int, size: int, tiles: int = 1) -> tuple[Array | None, Array | None]:
        """For launches whose blocks merge `count` parts of `size` floats: those, and counters for `tiles` merges."""
        return (None, None) if count == 1 else (self.floats(count, size), self.counters(count * tiles))

    def aligned(self, *arrays: Array) -> bool:
        """Whether the addresses of the arrays are aligned to vectors of four floats."""
        return all(array.data.ptr % 16 == 0 for array in arrays)


def named(kernel: str, x: Array) -> str:
    """The name of the kernel for activations with the storage type of x. Raises TypeError for other dtypes."""
    suffix = SUFFIXES.get(x.dtype)
    if suffix is None:
        raise TypeError(f"kernel {kernel} takes activations of {' or '.join(STORAGES)}, not {x.dtype}")
    return kernel + suffix


def rows_and_channels(x: Array) -> tuple[int, int]:
    """The number of rows of x (..., c), and c."""
    c = x.shape[-1]
    return x.size // c, c


@functools.lru_cache(maxsize=1024)
def window_struct(window: Window, n: int, c: int) -> NDArray[Any]:
    """The struct argument of kernels with the window's geometry, for `n` images of `c` channels."""
    top, _, left, _ = window.padding
    numbers = (
        *(n, *window.input_hw, c),
        *window.output_hw,
        *window.kernel,
        *(*window.stride, *window.dilation, top, left),
    )
    return np.array([numbers], dtype=STRUCTS["Window2D"])
