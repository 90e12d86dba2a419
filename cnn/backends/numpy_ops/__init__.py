"""The NumPy backend: the oracle that every kernel is held against, and the engine where there is no GPU."""

from cnn.backends.numpy_ops.activations import NumpyActivations
from cnn.backends.numpy_ops.batches import NumpyBatches
from cnn.backends.numpy_ops.convolution import NumpyConvolution
from cnn.backends.numpy_ops.dropout import NumpyDropout
from cnn.backends.numpy_ops.losses import NumpyLosses
from cnn.backends.numpy_ops.normalization import NumpyNormalization
from cnn.backends.numpy_ops.pooling import NumpyPooling
from cnn.backends.numpy_ops.updates import NumpyUpdates


class NumpyOps(
    NumpyConvolution,
    NumpyPooling,
    NumpyNormalization,
    NumpyActivations,
    NumpyDropout,
    NumpyLosses,
    NumpyUpdates,
    NumpyBatches,
):
    """All families together. float32 in training, float64 in gradient checks: the arrays decide."""


__all__ = ["NumpyOps"]
