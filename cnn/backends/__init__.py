"""Backends: the ops contract and those who fulfil it."""

from cnn.backends.numpy_ops import NumpyOps
from cnn.backends.ops import Array, Ops
from cnn.backends.philox import RandomKey
from cnn.backends.window import Window
from foundation.errors import UserError

__all__ = ["Array", "NumpyOps", "Ops", "RandomKey", "Window", "get_ops"]


def get_ops(name: str, threads: int | None = None) -> Ops:
    """The backend called `name` ("numpy"); `threads` is for NumPy, None meaning every available core.

    Raises `UserError` for an unknown name or fewer than one thread.
    """
    if name != "numpy":
        raise UserError(f"there is no backend '{name}'; choose one of: numpy")
    if threads is not None and threads < 1:
        raise UserError(f"backend.threads must be at least 1, not {threads}")
    return NumpyOps(threads)
