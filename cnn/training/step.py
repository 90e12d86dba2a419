"""The training step, which the loop, the benchmarks and the comparison with PyTorch all run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import Model
from cnn.training.batches import BatchMaker
from cnn.training.losses import CrossEntropy
from cnn.training.optimizers import Optimizer

_CLOCK, _TOTALS = 3, 3  # words of `next_batch`'s clock, and of the loss's totals


class TrainingStep:
    """Gather and augment, forward, loss, backward, update: `step(count)` trains on the next `count` images.

    The values that change from step to step are on the backend: the clock, the sums of loss and correct predictions,
    the order of the images, the learning rates. `begin_epoch` sends them in one transfer. So the step reads nothing
    from the host, and a backend may record it once and replay it.
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
    ) -> None:
        """images (n, h, w, c) uint8 or float32 and labels (n,) int64 are on the backend; an epoch uses each once."""
        self.model, self.loss, self.optimizer, self.batches = model, loss, optimizer, batches
        self.ops, self.images, self.labels, self.batch_size = model.ops, images, labels, batch_size
        count, steps = len(images), -(-len(images) // batch_size)
        # 64-bit words: the clock, the totals, the order, and two learning rates to a word.
        self._state = self.ops.zeros((_CLOCK + _TOTALS + count + -(-steps // 2),), np.dtype(np.int64))
        self._parts = _parts(self._state, count)
        self._clock, self._totals, self._order, self._rates = self._parts
        self._learning_rate = self.ops.zeros((1,), np.dtype(np.float32))
        self._recorded: dict[int, Callable[[], Any]] = {}

    def begin_epoch(self, order: NDArray[np.int64], rates: NDArray[np.float32], steps_before: int) -> None:
        """Begin an epoch with this order of images, learning rate of each step, and number of earlier steps."""
        state = np.zeros(self._state.shape, np.int64)
        clock, _, own_order, own_rates = _parts(state, len(self.images))
        clock[0] = steps_before
        own_order[...] = order
        own_rates[: len(rates)] = rates
        self.ops.copy_in(self._state, state)

    def __call__(self, count: int) -> None:
        """Train on the epoch's next `count` images."""
        if count not in self._recorded:
            self._recorded[count] = self.ops.capture(lambda: self.run(count))
        self._recorded[count]()

    def run(self, count: int) -> None:
        """Run the step without capture."""
        clock = self._clock
        state = self._order, self._rates, clock, self._learning_rate
        x, labels = self.batches.next(self.images, self.labels, *state, count)
        logits, saved = self.model.forward(x, True, clock)
        _, dlogits = self.loss(logits, labels, self._totals)
        self.model.backward(saved, dlogits)
        self.optimizer.step(self._learning_rate, clock)

    def totals(self) -> tuple[float, float]:
        """The mean loss and the accuracy of the epoch so far. Waits for the device."""
        loss, hits, rows = self.ops.to_numpy(self._totals).tolist()
        return loss / max(rows, 1), hits / max(rows, 1)


def _parts(state: Any, count: int) -> tuple[Any, Any, Any, Any]:
    """Views of the state's words: clock int64, totals float64, order int64, learning rates float32."""
    begin = _CLOCK + _TOTALS
    return (
        state[:_CLOCK],
        state[_CLOCK:begin].view(np.float64),
        state[begin : begin + count],
        state[begin + count :].view(np.float32),
    )
