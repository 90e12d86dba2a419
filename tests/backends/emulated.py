"""The GPU backend on the CPU emulator."""

from __future__ import annotations

import functools

import numpy as np

from backends.cases import OpCall
from backends.running import flat
from cnn.backends.cupy_ops import CupyOps
from cuda_emulator import Emulator

# Numbers among a call's arguments that the checked mode takes in well under a second.
_MOST_NUMBERS = 12_000


@functools.cache
def emulated_ops(mode: str, order: str = "forward") -> CupyOps:
    """The GPU backend's own host code, its kernels run by the emulator."""
    return CupyOps(Emulator(mode, order), device=f"emulator, {mode}")


def fits_checked_mode(call: OpCall | None) -> bool:
    """Whether the checked mode gets through the call fast enough; what is no call always fits."""
    if call is None:
        return True
    return sum(array.size for array in flat(list(call.arguments("float32"))) if isinstance(array, np.ndarray)) <= (
        _MOST_NUMBERS
    )
