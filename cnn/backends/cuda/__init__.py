"""The GPU backend: every operation is a kernel of `cnn/kernels`, launched through CuPy."""

from cnn.backends.cuda.batches import CudaBatches
from cnn.backends.cuda.losses import CudaLosses
from cnn.backends.cuda.tail import CudaTail
from cnn.backends.cuda.updates import CudaUpdates
from cnn.backends.ops import Ops


class CudaOps(CudaTail, CudaLosses, CudaUpdates, CudaBatches, Ops):
    """All families together. `xp` is the module `cupy`, or one with the same interface.

    Arrays are float32. Those of activations may also be bfloat16, as uint16 arrays of its words: everything but losses
    and updates takes and returns them.
    """


__all__ = ["CudaOps"]
