"""The GPU backend: every operation a kernel of `cnn/kernels`, launched through CuPy."""

from cnn.backends.composed import ComposedOps
from cnn.backends.cupy_ops.batches import CupyBatches
from cnn.backends.cupy_ops.convolution import CupyConvolution
from cnn.backends.cupy_ops.dense import CupyDense
from cnn.backends.cupy_ops.dropout import CupyDropout
from cnn.backends.cupy_ops.elementwise import CupyElementwise
from cnn.backends.cupy_ops.losses import CupyLosses
from cnn.backends.cupy_ops.normalization import CupyNormalization
from cnn.backends.cupy_ops.pooling import CupyPooling
from cnn.backends.cupy_ops.updates import CupyUpdates


class CupyOps(
    CupyConvolution,
    CupyDense,
    CupyPooling,
    CupyNormalization,
    CupyElementwise,
    CupyDropout,
    CupyLosses,
    CupyUpdates,
    CupyBatches,
    ComposedOps,
):
    """All families together, in float32. `xp` is the module `cupy`, or one with the same face."""


__all__ = ["CupyOps"]
