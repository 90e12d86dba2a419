"""The training step, which the loop, the benchmarks and the comparison with PyTorch all run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import Model
from cnn.training.averaging import Lookahead, MovingAverage
from cnn.training.batches import BatchMaker
from cnn.training.losses import CrossEntropy
from cnn.training.mixing import MIXING_NUMBERS, UNMIXED
from cnn.training.optimizers import Optimizer
from cnn.training.ranks import Alone
from cnn.training.teacher import Teacher

_CLOCK, _TOTALS = 3, 3  # words of `next_batch`'s clock, and of the loss's totals
# The numbers of a step, in this order, which `next_batch` selects.
_NUMBERS = ("learning_rate", "momentum", "average", "slow", "fast", *MIXING_NUMBERS)


class TrainingStep:
    """Gather and augment, forward, loss, backward, update: `step(count)` trains on the next `count` images.

    The values that change from step to step are on the backend: the clock, the sums of loss and correct predictions,
    the order of the images, the numbers of each step. `begin_epoch` sends them in one transfer. So the step reads
    nothing from the host, and a backend may record it once and replay it.
    """

    def __init__(
        self,
        model: Model,
        loss: CrossEntropy,
        optimizer: Optimizer,
        batches: BatchMaker,
        images: Array,
        labels: Array,
        batch_size: int,
        average: MovingAverage | None = None,
        lookahead: Lookahead | None = None,
        teacher: Teacher | None = None,
        targets: Array | None = None,
        ranks: Alone | None = None,
    ) -> None:
        """images (n, h, w, c) uint8 or float32 and labels (n,) int64 are on the backend; an epoch uses each once.

        With `targets` (n, classes) float32 the loss is that of these distributions in place of the labels.
        `average` and `lookahead` follow the weights after each update; `teacher` adds to the gradient of the loss, but
        not to `totals`; `ranks` are the processes that the batches are divided among.
        """
        self.model, self.loss, self.optimizer, self.batches = model, loss, optimizer, batches
        self.ops, self.images, self.labels, self.batch_size = model.ops, images, labels, batch_size
        self.average, self.lookahead, self.teacher, self.targets = average, lookahead, teacher, targets
        self.ranks = ranks or Alone()
        count, steps = len(images), -(-len(images) // batch_size)
        # 64-bit words: the clock, the totals, the order, and two numbers of a step to a word.
        self._steps, words = steps, -(-steps * len(_NUMBERS) // 2)
        self._state = self.ops.zeros((_CLOCK + _TOTALS + count + words,), np.dtype(np.int64))
        self._clock, self._totals, self._order, self._schedule = _parts(self._state, count, steps)
        self._numbers = self.ops.zeros((len(_NUMBERS),), np.dtype(np.float32))
        self._number = {name: self._numbers[place : place + 1] for place, name in enumerate(_NUMBERS)}
        self._mixing = self._numbers[-len(MIXING_NUMBERS) + 1 :]
        self._recorded: dict[int, Callable[[], Any]] = {}

    def begin_epoch(
        self,
        order: NDArray[np.int64],
        rates: NDArray[np.float32],
        steps_before: int,
        momenta: NDArray[np.float32] | None = None,
        mixing: NDArray[np.float32] | None = None,
    ) -> None:
        """Begin an epoch with this order of images, and number of earlier steps.

        rates (steps,) is the learning rate of each of its steps, momenta (steps,) the momentum, by default the
        optimizer's, mixing (steps, 6) what `mixing_of_epoch` returns, by default unmixed.
        """
        state = np.zeros(self._state.shape, np.int64)
        clock, _, own_order, schedule = _parts(state, len(self.images), self._steps)
        clock[0] = steps_before
        own_order[...] = order
        count = len(rates)
        numbers = steps_before + 1 + np.arange(count)
        column = {name: schedule[:count, place] for place, name in enumerate(_NUMBERS)}
        column["learning_rate"][...] = rates
        column["momentum"][...] = self.optimizer.momentum if momenta is None else momenta
        if self.average is not None:
            column["average"][...] = self.average.shares(numbers)
        if self.lookahead is not None:
            column["slow"][...], column["fast"][...] = self.lookahead.shares(numbers).T
        schedule[:count, -len(MIXING_NUMBERS) :] = UNMIXED if mixing is None else mixing
        self.ops.copy_in(self._state, state)

    def __call__(self, count: int) -> None:
        """Train on the epoch's next `count` images."""
        if count not in self._recorded:
            self._recorded[count] = self.ops.capture(lambda: self.run(count))
        self._recorded[count]()

    def run(self, count: int) -> None:
        """Run the step without capture."""
        clock, number = self._clock, self._number
        state = self._order, self._schedule, clock, self._numbers, self._mixing
        x, labels, indices = self.batches.next(self.images, self.labels, *state, count)
        logits, saved = self.model.forward(x, True, clock)
        if self.batches.augment.mixes or self.targets is not None:
            labels = self.ops.batch_targets(labels, logits.shape[1], number["share"], self.targets, indices)
            labels = labels[: len(logits)]  # without those of partners that other processes have
        _, dlogits = self.loss(logits, labels, self._totals)
        if self.teacher is not None:
            self.teacher.guide(x, logits, dlogits)
        self.ranks.backward(self.model, saved, dlogits)
        self.optimizer.step(number["learning_rate"], number["momentum"], clock)
        if self.lookahead is not None:
            self.lookahead.update(number["slow"], number["fast"])
        if self.average is not None:
            self.average.update(number["average"])

    def totals(self, everywhere: bool = False) -> tuple[float, float]:
        """Mean loss and accuracy of the epoch so far, of all processes if `everywhere`. Waits for the device."""
        numbers = self.ops.to_numpy(self._totals).tolist()
        loss, hits, rows = self.ranks.summed(numbers) if everywhere else numbers
        return loss / max(rows, 1), hits / max(rows, 1)


def _parts(state: Any, count: int, steps: int) -> tuple[Any, Any, Any, Any]:
    """Views of the state's words: clock int64, totals float64, order int64, numbers of the steps float32 (steps, k)."""
    begin = _CLOCK + _TOTALS
    numbers = state[begin + count :].view(np.float32)[: steps * len(_NUMBERS)]
    return (
        state[:_CLOCK],
        state[_CLOCK:begin].view(np.float64),
        state[begin : begin + count],
        numbers.reshape(steps, len(_NUMBERS)),
    )
