"""The GPU backend on the CPU emulator."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from backends.cases import Call
from backends.running import number_of_elements
from cnn.backends import Ops
from cnn.backends.cuda import CudaOps
from cnn.kernels import FOLDER
from cuda_emulator import Emulator

# Where the emulated kernels' text lies: `kernel_mutants` names a folder of kernels that it broke on purpose.
KERNELS = Path(os.environ.get("CNN_TEST_KERNELS") or FOLDER)

# Numbers among a call's arguments that the checked mode takes in well under a second.
MOST_NUMBERS = 12_000


def new_emulated_ops(mode: str, order: str = "forward", **options: Any) -> Ops:
    """The GPU backend's own host code, its kernels run by the emulator; `options` are those of `CudaOps`."""
    return CudaOps(Emulator(mode, order), device=f"emulator, {mode}", folder=KERNELS, **options)


@functools.cache
def emulated_ops(mode: str, order: str = "forward") -> Ops:
    """One such backend for all tests."""
    return new_emulated_ops(mode, order)


@functools.cache
def fits_checked_mode(call: object) -> bool:
    """Whether the checked mode gets through a call, or through what says its `size`, fast enough."""
    size = number_of_elements(call) if isinstance(call, Call) else getattr(call, "size", 0)
    return size <= MOST_NUMBERS
