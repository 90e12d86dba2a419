"""The CPU engine: the contract in passes over memory that Numba compiles, on all cores."""

from cnn.backends.cpu.activations import CpuActivations
from cnn.backends.cpu.batches import CpuBatches
from cnn.backends.cpu.convolution import CpuConvolution
from cnn.backends.cpu.dropout import CpuDropout
from cnn.backends.cpu.joins import CpuJoins
from cnn.backends.cpu.losses import CpuLosses
from cnn.backends.cpu.pooling import CpuPooling
from cnn.backends.cpu.tail import CpuTail
from cnn.backends.cpu.updates import CpuUpdates


class CpuOps(
    CpuTail, CpuConvolution, CpuPooling, CpuActivations, CpuJoins, CpuDropout, CpuLosses, CpuUpdates, CpuBatches
):
    """All families together, in float32 and float64. What is small, such as cross-entropy, is the reference's."""


__all__ = ["CpuOps"]
