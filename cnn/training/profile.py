"""The time of each part of a training step: batch, blocks of the network forward and backward, loss, update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from cnn.models import Model
from cnn.models.timing import Stopwatch
from cnn.training.optimizers import Optimizer
from cnn.training.pack import Split
from cnn.training.step import TrainingStep

STEPS, WARM_UP = 10, 2  # measured, and before them those that compile and choose algorithms

_STEP = ("step", "forward")  # the whole, beside its parts


@dataclass(frozen=True)
class PartTime:
    """The median seconds of one part of a step; None for a pass that it does not have."""

    name: str
    forward: float | None
    backward: float | None

    @property
    def seconds(self) -> float:
        """Of both passes."""
        return (self.forward or 0.0) + (self.backward or 0.0)


@dataclass(frozen=True)
class StepProfile:
    """The parts in the order of a step, and the whole step as it runs unmeasured."""

    parts: tuple[PartTime, ...]
    step: float  # median seconds of a step whose parts are not waited for
    images: int  # in a step


def profile_step(
    model: Model,
    optimizer: Callable[[Model], Optimizer],
    loss: Any,
    batches: Any,
    train: Split,
    batch_size: int,
    steps: int = STEPS,
) -> StepProfile:
    """Measure training steps on a copy of `model`, which changes nothing of it.

    `optimizer` makes one for the copy; `loss` and `batches` are those of training. Steps run operation by operation,
    not as a recorded graph, and a device is waited for after each part: so the sum of the parts is more than a step.
    """
    copy, count = model.twin(), min(batch_size, len(train))
    step = TrainingStep(copy, loss, optimizer(copy), batches, train.images, train.labels, batch_size)
    watch = Stopwatch(model.ops)
    _run(step, watch, count, WARM_UP)
    watch.parts.clear()
    whole = _run(step, watch, count, steps)
    copy.measured_by(watch)
    timed: Any = step
    timed.batches = _Timed(step.batches, watch, "next", ("batch and augmentation", "forward"))
    timed.loss = _Timed(step.loss, watch, "__call__", ("loss", "forward"))
    timed.optimizer = _Timed(step.optimizer, watch, "step", ("update", "backward"))
    _run(step, watch, count, WARM_UP)
    watch.parts.clear()
    _run(step, watch, count, steps)
    watch.parts.pop(_STEP)
    names = dict.fromkeys(name for name, _ in watch.parts)
    seconds = {key: median(values) for key, values in watch.parts.items()}
    parts = (PartTime(name, seconds.get((name, "forward")), seconds.get((name, "backward"))) for name in names)
    return StepProfile(tuple(parts), whole, count)


def _run(step: TrainingStep, watch: Stopwatch, count: int, steps: int) -> float:
    """Run so many steps, one by one; the median of their seconds."""
    for number in range(steps):
        # Each is the first of an epoch, with a learning rate of 0.
        step.begin_epoch(np.arange(len(step.images)), np.zeros(1, np.float32), number)
        with watch.measure(*_STEP):
            step.run(count)
    return median(watch.parts[_STEP])


class _Timed:
    """An object one of whose methods is measured; everything else is the object's own."""

    def __init__(self, wrapped: Any, watch: Stopwatch, method: str, part: tuple[str, str]) -> None:
        self._wrapped, self._watch, self._method, self._part = wrapped, watch, method, part

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        return self._measured(found) if name == self._method else found

    def __call__(self, *arguments: Any) -> Any:
        return self._measured(self._wrapped)(*arguments)

    def _measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self._watch.measure(*self._part):
                return function(*arguments)

        return call
