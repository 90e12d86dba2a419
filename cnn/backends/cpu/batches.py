"""The input of the network, computed from the stored images in one compiled pass."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu import batch_kernels as kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray
from cnn.backends.cpu.workers import pieces

_IMAGES = 16  # per chunk


class CpuBatches(CpuArrays):
    """Pick, warp, normalise and erase, image by image on all cores."""

    def gather_batch(
        self,
        images: FloatArray,
        indices: FloatArray,
        affine: FloatArray | None,
        erase: FloatArray | None,
        scale: FloatArray,
        offset: FloatArray,
    ) -> FloatArray:
        count = len(indices)
        batch = self.memory.empty((count, *images.shape[1:]), scale.dtype)
        matrices = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)) if affine is None else affine
        rectangles = np.zeros((count, 4), np.int32) if erase is None else erase
        matrices, rectangles = matrices.astype(np.float32, copy=False), rectangles.astype(np.int32, copy=False)

        def run(piece: slice) -> None:
            kernels.gather(images, indices[piece], matrices[piece], rectangles[piece], scale, offset, batch[piece])

        self.workers.map(run, pieces(count, _IMAGES))
        return batch
