"""Compiled kernels of this folder, for the emulator's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cuda_emulator import Emulator
from cuda_emulator.source import plain_kernels

KERNELS = Path(__file__).parent / "kernels"
MODES = ("fast", "checked")
ORDERS = ("forward", "reverse", "shuffled")

_SIDES = (f"{a}, {b}" for a in ("false", "true") for b in ("false", "true"))
TEMPLATES = {  # by file
    "mechanisms.cu": ("reversed<32, false>", "reversed<64,true>"),
    "tensor_cores.cu": tuple(f"products_warpgroup<{n}, {sides}>" for sides in _SIDES for n in (64, 128, 256)),
}


class Bench:
    """An emulator and the kernels of one file."""

    def __init__(self, file: str, mode: str, order: str, **settings: Any) -> None:
        self.mode, self.order = mode, order
        self.xp = Emulator(mode, order, **settings)
        code = (KERNELS / file).read_text()
        names = (*plain_kernels(code), *TEMPLATES.get(file, ()))
        self.module = self.xp.RawModule(code=code, options=(f"-I{KERNELS}",), name_expressions=names)

    def kernel(self, name: str) -> Any:
        return self.module.get_function(name)

    def launch(self, name: str, *args: Any, grid: Any = 1, block: Any = 32, shared_mem: int = 0) -> None:
        """Runs a kernel; a grid or block of one dimension may be a number."""
        grid, block = ((sizes,) if isinstance(sizes, int) else sizes for sizes in (grid, block))
        self.kernel(name)(grid, block, args, shared_mem=shared_mem)
