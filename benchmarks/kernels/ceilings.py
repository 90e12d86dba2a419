"""The limits of the machine, measured in the same run as the times that are compared with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks.clock import Clock, time_each
from benchmarks.kernels.ceiling_kernels import CeilingKernels, multiply_add_flops, multiply_matrices_flops
from cnn.backends import Ops
from cnn.backends.reference.arrays import TENSOR_CORES

_TENSOR = "bfloat16 products of tensor cores, own kernel"


@dataclass(frozen=True)
class Ceilings:
    """Bytes read plus written per second, and floating-point operations per second."""

    bandwidth: float
    arithmetic: float  # float32
    tensor: float = 0.0  # bfloat16 products of tensor cores by mma.sync; 0: not measured

    def peak(self, unit: str) -> float:
        """Operations per second of a unit: "float32", "bfloat16" or "tf32" (half the tensor cores' rate)."""
        if unit == "float32" or not self.tensor:
            return self.arithmetic
        return self.tensor if unit == "bfloat16" else self.tensor / 2

    def floor(self, moved: float, flops: float, unit: str = "float32") -> float:
        """The least seconds of the work."""
        return max(moved / self.bandwidth, flops / self.peak(unit))

    def bound(self, moved: float, flops: float, unit: str = "float32") -> str:
        """Which of the two determines the least time."""
        return "memory" if moved / self.bandwidth >= flops / self.peak(unit) else "arithmetic"


@dataclass(frozen=True)
class CeilingSizes:
    """The sizes of copies and computations."""

    copy_bytes: int = 1 << 30  # much larger than any L2 cache
    blocks: int = 128  # of 256 threads, for each multiprocessor
    rounds: int = 1024
    matrix: int = 1536  # on the CPU
    repeats: int = 20

    @classmethod
    def quick(cls) -> CeilingSizes:
        """Small sizes, for quick runs and tests."""
        return cls(copy_bytes=1 << 27, blocks=64, rounds=256, matrix=256, repeats=5)


def measure_ceilings(ops: Ops, clock: Clock, sizes: CeilingSizes) -> tuple[Ceilings, dict[str, float]]:
    """The limits, and all figures of which they are the largest: bytes or operations per second by name."""
    figures = _on_device(ops, clock, sizes) if hasattr(ops, "xp") else _on_host(clock, sizes)
    tensor = figures.get(_TENSOR, 0.0)
    bandwidth = max(value for name, value in figures.items() if name.startswith("copy"))
    arithmetic = max(value for name, value in figures.items() if not name.startswith("copy") and name != _TENSOR)
    return Ceilings(bandwidth, arithmetic, tensor), figures


def _on_device(ops: Any, clock: Clock, sizes: CeilingSizes) -> dict[str, float]:
    figures = _copies(ops, clock, sizes)
    clock.forget_memory()
    threads = 256 * sizes.blocks * int(clock.facts().get("multiprocessors", 1))
    result, kernels = ops.xp.empty(threads, np.float32), CeilingKernels(ops.xp)
    times = time_each(clock, lambda: kernels.multiply_add(result, sizes.rounds), sizes.repeats)
    figures["multiply-add chains, own kernel"] = multiply_add_flops(threads, sizes.rounds) / median(times)
    if ops.capability >= TENSOR_CORES:
        times = time_each(clock, lambda: kernels.multiply_matrices(result, sizes.rounds), sizes.repeats)
        figures[_TENSOR] = multiply_matrices_flops(threads, sizes.rounds) / median(times)
    return figures


def _copies(ops: Any, clock: Clock, sizes: CeilingSizes) -> dict[str, float]:
    xp, kernels = ops.xp, CeilingKernels(ops.xp)
    count = sizes.copy_bytes // 16 * 4
    x, y = xp.empty(count, np.float32), xp.empty(count, np.float32)
    kernels.fill(x)

    def rate(amount: float, run: Callable[[], Any]) -> float:
        return amount / median(time_each(clock, run, sizes.repeats))

    figures = {"copy, own kernel": rate(8 * count, lambda: kernels.copy(x, y))}
    if hasattr(x.data, "copy_from_device_async"):  # CuPy's, not the emulator's
        figures["copy, by the driver"] = rate(8 * count, lambda: y.data.copy_from_device_async(x.data, x.nbytes))
    figures["copy, the kernel `add`"] = rate(12 * count, lambda: ops.add(x, y))
    return figures


def _on_host(clock: Clock, sizes: CeilingSizes) -> dict[str, float]:
    """The copy is on one core; BLAS chooses its number of threads."""
    x = np.ones(min(sizes.copy_bytes, 1 << 28) // 4, np.float32)
    y = np.empty_like(x)
    matrix = np.random.default_rng(0).random((sizes.matrix, sizes.matrix), np.float32)
    repeats = min(sizes.repeats, 5)
    return {
        "copy, NumPy": 2 * x.nbytes / median(time_each(clock, lambda: np.copyto(y, x), repeats)),
        "matrix product, NumPy": 2 * sizes.matrix**3 / median(time_each(clock, lambda: matrix @ matrix, repeats)),
    }
