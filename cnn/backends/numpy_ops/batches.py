"""Batches: gather, augment, normalise."""

from __future__ import annotations

import numpy as np

from cnn.backends.numpy_ops.base import FloatArray, NumpyBase
from cnn.backends.workers import pieces


class NumpyBatches(NumpyBase):
    """From the stored uint8 pictures to the network's input."""

    def gather_batch(
        self,
        images: FloatArray,
        indices: FloatArray,
        flip: FloatArray,
        shift: FloatArray,
        scale: FloatArray,
        offset: FloatArray,
    ) -> FloatArray:
        height, width, channels = images.shape[1:]
        batch = np.empty((len(indices), height, width, channels), scale.dtype)

        def run(piece: slice) -> None:
            for i in range(piece.start, piece.stop):
                # Output row r shows input row r - down; a row outside repeats the nearest one inside.
                rows = np.clip(np.arange(height) - shift[i, 0], 0, height - 1)
                columns = np.clip(np.arange(width) - shift[i, 1], 0, width - 1)
                if flip[i]:
                    columns = width - 1 - columns  # mirrored first, then moved
                picture = images[indices[i]][rows[:, None], columns]
                np.multiply(picture, scale, out=batch[i])
                batch[i] += offset

        self.workers.map(run, pieces(len(indices), 32))
        return batch
