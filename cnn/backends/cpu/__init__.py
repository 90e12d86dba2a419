"""The CPU engine: the operations of `Ops` in memory passes compiled by Numba, on all cores."""

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
    """All families together, in float32 and float64. Small operations, such as softmax, run the reference."""


__all__ = ["CpuOps"]
