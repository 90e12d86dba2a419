"""Batches: selection of the next images, their augmentation, and the network's input."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Array, Augmentation
from cnn.backends.cuda.arrays import BFLOAT16, CudaArrays, named
from cnn.backends.cuda.dropout import seed_words
from cnn.backends.reference.batches import AUGMENTATION_STREAM, WARP_STREAM
from cnn.kernels import STRUCTS


class CudaBatches(CudaArrays):
    """Kernels in `cnn/kernels/batches.cu`."""

    def next_batch(
        self, order: Array, rates: Array, labels: Array, clock: Array, learning_rate: Array, count: int
    ) -> tuple[Array, Array]:
        indices, batch_labels = self.empty((count,), np.int64), self.empty((count,), np.int64)
        sizes = len(order), len(rates), count
        self.launch("next_batch", order, rates, labels, clock, learning_rate, indices, batch_labels, *sizes)
        return indices, batch_labels

    def augmentation(self, clock: Array, count: int, hw: tuple[int, int], rules: Augmentation) -> tuple[Array, Array]:
        affine, erase = self.floats(count, 2, 3), self.empty((count, 4), np.int32)
        self.launch("augmentation", clock, affine, erase, _rules_struct(rules, hw), count)
        return affine, erase

    def next_augmented_batch(
        self,
        order: Array,
        rates: Array,
        labels: Array,
        clock: Array,
        learning_rate: Array,
        count: int,
        hw: tuple[int, int],
        rules: Augmentation,
    ) -> tuple[Array, Array, tuple[Array, Array]]:
        indices, batch_labels = self.empty((count,), np.int64), self.empty((count,), np.int64)
        moves = self.floats(count, 2, 3), self.empty((count, 4), np.int32)
        self.launch(
            "next_augmented_batch",
            *(order, rates, labels, clock, learning_rate, indices, batch_labels, *moves, self.counters(1)),
            *(_rules_struct(rules, hw), len(order), len(rates), count),
        )
        return indices, batch_labels, moves

    def gather_batch(
        self,
        images: Array,
        indices: Array,
        affine: Array | None,
        erase: Array | None,
        scale: Array,
        offset: Array,
        storage: str = "float32",
    ) -> Array:
        batch = self.empty((len(indices), *images.shape[1:]), BFLOAT16 if storage == "bfloat16" else np.float32)
        kernel = "gather_batch" if images.dtype == np.uint8 else "gather_batch_of_floats"
        self.launch(named(kernel, batch), images, indices, affine, erase, scale, offset, batch, *batch.shape)
        return batch


@functools.lru_cache(maxsize=1024)
def _rules_struct(rules: Augmentation, hw: tuple[int, int]) -> NDArray[Any]:
    """The struct argument of the kernels."""
    reach = (int(np.round(rules.shift * side)) for side in hw)
    streams = *seed_words(rules.seed), AUGMENTATION_STREAM, WARP_STREAM
    numbers = rules.rotate, rules.zoom, rules.erase, *rules.erase_area
    return np.array([(*numbers, *streams, *hw, int(rules.flip), *reach)], STRUCTS["AugmentRules"])
