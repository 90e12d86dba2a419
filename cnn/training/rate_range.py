"""The learning-rate range test: training steps under a rate that grows, and the loss of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnn.training.loop import Trainer, steps_of_epoch
from cnn.training.pack import Split
from cnn.training.progress import Progress
from foundation.errors import UserError

_DIVERGED = 4.0  # times the lowest smoothed loss: the test stops there
_EARLY = 10  # steps of which the smoothed loss is still mostly noise


@dataclass(frozen=True)
class RateRange:
    """Learning rate, loss of the batch and smoothed loss of each step, (steps,)."""

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]

    @property
    def lowest(self) -> float:
        """The rate of the lowest smoothed loss, after the first steps."""
        return float(self.rates[self._lowest])

    @property
    def suggested(self) -> float:
        """A tenth of the rate of the lowest smoothed loss, at which training still gains and does not yet diverge."""
        return self.lowest / 10

    @property
    def _lowest(self) -> int:
        start = min(_EARLY, len(self.smoothed) - 1)
        return start + int(self.smoothed[start:].argmin())


def growing_rates(lowest: float, highest: float, steps: int) -> NDArray[np.float64]:
    """`steps` rates from `lowest` to `highest`, each the same factor above the one before."""
    if not 0 < lowest < highest or not math.isfinite(highest):
        raise UserError(f"the rates must grow from above 0: lowest={lowest} and highest={highest} do not")
    if steps < 2 * _EARLY:
        raise UserError(f"steps must be at least {2 * _EARLY}, not {steps}: with fewer the loss shows only noise")
    return np.geomspace(lowest, highest, steps)


def range_test(
    trainer: Trainer, train: Split, rates: NDArray[np.float64], progress: Progress, smoothing: float = 0.9
) -> RateRange:
    """Train the network of `trainer` one step at each rate (Smith 2017, Cyclical learning rates, section 3.3).

    The steps are those of its training, with mixed images, soft labels and teachers, on images of full size.

    The smoothed loss is a moving average that keeps the fraction `smoothing`, corrected for its start at 0. The test
    ends early when the loss is not finite, or the smoothed loss is four times its lowest. The weights are of no use
    afterwards. Raises `UserError` for a smoothing out of range, and if the first loss is not finite.
    """
    if not 0 <= smoothing < 1:
        raise UserError(f"smoothing must be from 0 to below 1, not {smoothing}")
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    for note in trainer.notes:
        progress.note(note)
    progress.begin("range test", len(rates) * trainer.settings.batch_size)
    for loss, count in _losses(trainer, train, rates):
        if not math.isfinite(loss):
            break
        losses.append(loss)
        average = smoothing * average + (1 - smoothing) * loss
        smoothed.append(average / (1 - smoothing ** len(losses)))
        progress.advance(count)
        if len(losses) > _EARLY and smoothed[-1] > _DIVERGED * min(smoothed):
            break
    if not losses:
        raise UserError(f"the loss is not finite in the first step, at a learning rate of {rates[0]:g}")
    return RateRange(rates[: len(losses)], np.array(losses), np.array(smoothed))


def _losses(trainer: Trainer, train: Split, rates: NDArray[np.float64]) -> Iterator[tuple[float, int]]:
    """Train one step at each rate; the loss of its batch before the update, and the number of its images."""
    step = trainer.training_step(train)
    sizes = steps_of_epoch(len(train), trainer.settings.batch_size, trainer.model)
    for first in range(0, len(rates), len(sizes)):
        own = rates[first : first + len(sizes)].astype(np.float32)
        trainer.begin_epoch(step, 1 + first // len(sizes), own, first)
        total, rows = 0.0, 0
        for count in sizes[: len(own)]:
            step(count)
            rows += count
            before, total = total, step.totals()[0] * rows  # the step has the sum of the epoch
            yield (total - before) / count, count
