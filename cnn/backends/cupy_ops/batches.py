"""Batches: gather, warp, normalise, erase."""

from __future__ import annotations

from cnn.backends.cupy_ops.base import CupyBase
from cnn.backends.ops import Array


class CupyBatches(CupyBase):
    """Kernels in `cnn/kernels/batches.cu`."""

    def gather_batch(
        self, images: Array, indices: Array, affine: Array, erase: Array, scale: Array, offset: Array
    ) -> Array:
        batch = self.empty((len(indices), *images.shape[1:]))
        self.launch("gather_batch", images, indices, affine, erase, scale, offset, batch, *batch.shape)
        return batch
