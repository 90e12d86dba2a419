"""The input of the network, computed from the stored images in one compiled pass."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu import batch_kernels as kernels
from cnn.backends.cpu.arrays import CpuArrays, FloatArray, round_chunk
from cnn.backends.cpu.workers import chunks

_IMAGES = 16  # per chunk


class CpuBatches(CpuArrays):
    """Pick, warp, normalise and erase, image by image on all cores."""

    def gather_batch(
        self,
        images: FloatArray,
        indices: FloatArray,
        affine: FloatArray | None,
        erase: FloatArray | None,
        tone: FloatArray | None,
        scale: FloatArray,
        offset: FloatArray,
        storage: str = "float32",
    ) -> FloatArray:
        count = len(indices)
        batch = self.memory.empty((count, *images.shape[1:]), scale.dtype)
        matrices = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)) if affine is None else affine
        rectangles = np.zeros((count, 4), np.int32) if erase is None else erase
        tones = np.tile(np.array([1, 0], scale.dtype), (count, 1)) if tone is None else tone.astype(scale.dtype)
        matrices, rectangles = matrices.astype(np.float32, copy=False), rectangles.astype(np.int32, copy=False)

        def run(chunk: slice) -> None:
            part = batch[chunk]
            own = indices[chunk], matrices[chunk], rectangles[chunk], tones[chunk]
            kernels.gather(images, *own, scale, offset, part)
            if storage == "bfloat16":
                round_chunk(part.reshape(-1), out=part.reshape(-1))

        self.workers.map(run, chunks(count, _IMAGES))
        return batch
