"""The GPU backend: every operation is a kernel of `cnn/kernels`, launched through CuPy."""

from cnn.backends.cuda.batches import CudaBatches
from cnn.backends.cuda.losses import CudaLosses
from cnn.backends.cuda.tail import CudaTail
from cnn.backends.cuda.updates import CudaUpdates
from cnn.backends.ops import Ops


class CudaOps(CudaTail, CudaLosses, CudaUpdates, CudaBatches, Ops):
    """All families together. `xp` is the module `cupy`, or one with the same interface.

    Arrays are float32. Activations may also be bfloat16, as uint16 arrays of their bits, in all operations but
    convolutions, dense layers, losses and updates.
    """


__all__ = ["CudaOps"]
