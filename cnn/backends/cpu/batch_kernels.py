"""The memory pass that gathers a batch: see `Ops.gather_batch`."""

from __future__ import annotations

import math

import numpy as np

from cnn.backends.cpu.jit import compiled


@compiled
def gather(images, indices, affine, erase, tone, scale, offset, batch):
    """images (m, h, w, c) of bytes or of batch's type, affine (n, 2, 3) float32, erase (n, 4) int32, tone (n, 2) of
    batch's type to (n, h, w, c)."""
    height, width, channels = batch.shape[1], batch.shape[2], batch.shape[3]
    zero = batch.dtype.type(0)
    last_row, last_column = np.float32(height - 1), np.float32(width - 1)
    for n in range(batch.shape[0]):
        index = indices[n]
        straight = affine[n, 0, 1] == 0 and affine[n, 1, 0] == 0
        for part in range(2):
            for number in range(3):
                straight = straight and affine[n, part, number] == np.round(affine[n, part, number])
        gain, shift = tone[n, 0], tone[n, 1]
        top, left, tall, wide = erase[n, 0], erase[n, 1], erase[n, 2], erase[n, 3]
        for i in range(height):
            for j in range(width):
                if top <= i < top + tall and left <= j < left + wide:
                    for c in range(channels):
                        batch[n, i, j, c] = zero
                    continue
                y, x = np.float32(i), np.float32(j)
                row = (affine[n, 0, 0] * y + affine[n, 0, 1] * x) + affine[n, 0, 2]
                column = (affine[n, 1, 0] * y + affine[n, 1, 1] * x) + affine[n, 1, 2]
                row = min(max(row, np.float32(0)), last_row)
                column = min(max(column, np.float32(0)), last_column)
                upper, beside = math.floor(row), math.floor(column)
                if straight:
                    for c in range(channels):
                        batch[n, i, j, c] = (images[index, upper, beside, c] * scale[c] + offset[c]) * gain + shift
                    continue
                fr, fc = batch.dtype.type(row - np.float32(upper)), batch.dtype.type(column - np.float32(beside))
                lower, right = min(upper + 1, height - 1), min(beside + 1, width - 1)
                for c in range(channels):
                    v00 = batch.dtype.type(images[index, upper, beside, c])
                    v01 = batch.dtype.type(images[index, upper, right, c])
                    v10 = batch.dtype.type(images[index, lower, beside, c])
                    v11 = batch.dtype.type(images[index, lower, right, c])
                    above, below = v00 + fc * (v01 - v00), v10 + fc * (v11 - v10)
                    batch[n, i, j, c] = ((above + fr * (below - above)) * scale[c] + offset[c]) * gain + shift
