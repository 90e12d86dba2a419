"""Mixup and CutMix: how the images of each step are mixed with partners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnn.backends.reference.batches import MIXING_STREAM
from cnn.training.batches import AugmentSettings

# For each step: the share of an image's own label, and what `Ops.mix_batch` takes.
MIXING_NUMBERS = ("share", "blend", "top", "left", "height", "width")
UNMIXED = np.array([1, 1, 0, 0, 0, 0], np.float32)


def mixing_of_epoch(
    settings: AugmentSettings, hw: tuple[int, int], seed: int, epoch: int, steps: int
) -> NDArray[np.float32]:
    """The numbers of `MIXING_NUMBERS` for each step of an epoch (steps, 6); they depend only on the arguments.

    A step mixes with probability `mix_probability`: images of `hw` pixels by mixup (Zhang et al. 2018), whose share is
    drawn from Beta(mixup, mixup), or by CutMix (Yun et al. 2019), whose rectangle has 1 - Beta(cutmix, cutmix) of the
    area, by one of the two at random where both are on. The share of a label is that of its pixels.
    """
    mixing = np.tile(UNMIXED, (steps, 1))
    if not settings.mixes:
        return mixing
    key = np.array([seed & (2**64 - 1), MIXING_STREAM << 32 | epoch], np.uint64)
    rng, size = np.random.Generator(np.random.Philox(key=key)), np.array(hw)
    for row in mixing:
        mixes, cuts, (down, across) = rng.random() < settings.mix_probability, rng.random() < 0.5, rng.random(2)
        blend, kept = (rng.beta(alpha, alpha) if alpha else 1.0 for alpha in (settings.mixup, settings.cutmix))
        if not mixes:
            continue
        if settings.cutmix and (cuts or not settings.mixup):
            half = np.sqrt(1 - kept) * size / 2
            middle = np.array([down, across]) * size
            first, last = (np.clip(np.round(middle + way * half), 0, size) for way in (-1, 1))
            row[0], row[2:4], row[4:] = 1 - (last - first).prod() / size.prod(), first, last - first
        else:
            row[:2] = blend
    return mixing
