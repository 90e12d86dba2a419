"""The NumPy backend with compiled passes over memory: an option, for which Numba must be installed."""

from cnn.backends.compiled_ops.conv_kit import CompiledConvKit
from cnn.backends.compiled_ops.elementwise import CompiledElementwise
from cnn.backends.compiled_ops.normalization import CompiledNormalization
from cnn.backends.compiled_ops.pooling import CompiledPooling
from cnn.backends.compiled_ops.spin import spin
from cnn.backends.numpy_ops import NumpyOps
from cnn.backends.numpy_ops.conv_kit import ConvKit


class CompiledOps(CompiledNormalization, CompiledPooling, CompiledElementwise, NumpyOps):
    """What NumPy does in several passes over memory, done in one. Products stay with BLAS."""

    compiled = True
    pools_with_batch_norm = True
    spin = staticmethod(spin)

    @property
    def kit(self) -> ConvKit:
        return CompiledConvKit()


__all__ = ["CompiledOps"]
