"""The GPU backend on the CPU emulator."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from backends.cases import OpCall
from backends.running import flat
from cnn.backends.cupy_ops import CupyOps
from cnn.kernels import FOLDER
from cuda_emulator import Emulator

# Where the emulated kernels' text lies: `kernel_mutants` names a folder of kernels that it broke on purpose.
KERNELS = Path(os.environ.get("CNN_TEST_KERNELS") or FOLDER)

# Numbers among a call's arguments that the checked mode takes in well under a second.
_MOST_NUMBERS = 12_000


def new_emulated_ops(mode: str, order: str = "forward", **options: Any) -> CupyOps:
    """The GPU backend's own host code, its kernels run by the emulator; `options` are those of `CupyOps`."""
    return CupyOps(Emulator(mode, order), device=f"emulator, {mode}", folder=KERNELS, **options)


@functools.cache
def emulated_ops(mode: str, order: str = "forward") -> CupyOps:
    """One such backend for all tests."""
    return new_emulated_ops(mode, order)


@functools.cache
def fits_checked_mode(call: object) -> bool:
    """Whether the checked mode gets through the call fast enough; what is no call always fits."""
    if not isinstance(call, OpCall):
        return True
    return sum(array.size for array in flat(list(call.arguments("float32"))) if isinstance(array, np.ndarray)) <= (
        _MOST_NUMBERS
    )
