"""Batches: selection of the next images, their augmentation, and the network's input."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Array, Augmentation
from cnn.backends.cuda.arrays import BFLOAT16, CudaArrays, named
from cnn.backends.cuda.dropout import seed_words
from cnn.backends.reference.batches import AUGMENTATION_STREAM, CROP_STREAM, TONE_STREAM, WARP_STREAM
from cnn.kernels import STRUCTS


class CudaBatches(CudaArrays):
    """Kernels in `cnn/kernels/batches.cu`."""

    def next_batch(
        self, order: Array, schedule: Array, labels: Array, clock: Array, numbers: Array, count: int
    ) -> tuple[Array, Array]:
        indices, batch_labels = self.empty((count,), np.int64), self.empty((count,), np.int64)
        sizes = len(order), *schedule.shape, count
        self.launch("next_batch", order, schedule, labels, clock, numbers, indices, batch_labels, *sizes)
        return indices, batch_labels

    def augmentation(
        self, clock: Array, count: int, hw: tuple[int, int], rules: Augmentation
    ) -> tuple[Array, Array, Array]:
        moves = self._moves(count)
        self.launch("augmentation", clock, *moves, _rules_struct(rules, hw), count)
        return moves

    def next_augmented_batch(
        self,
        order: Array,
        schedule: Array,
        labels: Array,
        clock: Array,
        numbers: Array,
        count: int,
        hw: tuple[int, int],
        rules: Augmentation,
    ) -> tuple[Array, Array, tuple[Array, Array, Array]]:
        indices, batch_labels = self.empty((count,), np.int64), self.empty((count,), np.int64)
        moves = self._moves(count)
        self.launch(
            "next_augmented_batch",
            *(order, schedule, labels, clock, numbers, indices, batch_labels, *moves, self.counters(1)),
            *(_rules_struct(rules, hw), len(order), *schedule.shape, count),
        )
        return indices, batch_labels, moves

    def _moves(self, count: int) -> tuple[Array, Array, Array]:
        return self.floats(count, 2, 3), self.empty((count, 4), np.int32), self.floats(count, 2)

    def gather_batch(
        self,
        images: Array,
        indices: Array,
        affine: Array | None,
        erase: Array | None,
        tone: Array | None,
        scale: Array,
        offset: Array,
        storage: str = "float32",
    ) -> Array:
        batch = self.empty((len(indices), *images.shape[1:]), BFLOAT16 if storage == "bfloat16" else np.float32)
        kernel = "gather_batch" if images.dtype == np.uint8 else "gather_batch_of_floats"
        self.launch(named(kernel, batch), images, indices, affine, erase, tone, scale, offset, batch, *batch.shape)
        return batch

    def mix_batch(self, x: Array, mixing: Array, storage: str = "float32") -> Array:
        y = self.empty(x.shape, x.dtype)
        self.launch(named("mix_batch", x), x, mixing, y, *x.shape)
        return y

    def batch_targets(
        self, labels: Array, classes: int, share: Array, table: Array | None = None, indices: Array | None = None
    ) -> Array:
        """As in the reference; a label that is no class gives NaN."""
        targets = self.floats(len(labels), classes)
        self.launch("batch_targets", labels, share, table, indices, targets, *targets.shape)
        return targets


@functools.lru_cache(maxsize=1024)
def _rules_struct(rules: Augmentation, hw: tuple[int, int]) -> NDArray[Any]:
    """The struct argument of the kernels."""
    reach = (int(np.round(rules.shift * side)) for side in hw)
    streams = *seed_words(rules.seed), AUGMENTATION_STREAM, WARP_STREAM, CROP_STREAM, TONE_STREAM
    numbers = rules.rotate, rules.zoom, rules.erase, *rules.erase_area, rules.crop, rules.brightness, rules.contrast
    return np.array([(*numbers, *streams, *hw, int(rules.flip), *reach)], STRUCTS["AugmentRules"])
