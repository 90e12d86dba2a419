"""Learning-rate schedules: the factor on the optimizer's rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from foundation.errors import UserError


@dataclass
class ScheduleSettings:
    """The config group `schedule`; each kind reads the fields it needs."""

    name: str = "constant"  # constant, cosine, one_cycle or plateau
    warmup: float = 0.0  # cosine, one_cycle: fraction of all steps in which the rate rises linearly from `start` to 1
    start: float = 0.0  # factor on the rate just before the first step
    end: float = 0.0  # factor on the rate just after the last step
    factor: float = 0.5  # plateau: the rate is multiplied by it
    patience: int = 3  # plateau: epochs without a better monitored value before the rate is multiplied
    minimum: float = 1e-6  # plateau: the least learning rate, absolute
    base_momentum: float | None = None  # one_cycle: momentum (beta1 of Adam) at the peak; None leaves it constant

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise UserError(f"schedule.name is '{self.name}'; choose one of: {', '.join(SCHEDULES)}")
        if not 0 <= self.warmup < 1:
            raise UserError(f"schedule.warmup is a fraction of all steps, from 0 to below 1, not {self.warmup}")
        if not 0 < self.factor < 1:
            raise UserError(f"schedule.factor must be between 0 and 1, not {self.factor}")
        if self.patience < 1:
            raise UserError(f"schedule.patience must be at least 1 epoch, not {self.patience}")
        if self.base_momentum is not None:
            if self.name != "one_cycle":
                raise UserError(f"schedule.base_momentum is an option of one_cycle, which {self.name} does not use")
            if not 0 <= self.base_momentum < 1:
                raise UserError(f"schedule.base_momentum must be from 0 to below 1, not {self.base_momentum}")


class Schedule:
    """A constant rate; the base class of the others. `step` counts from 1 to `total_steps`."""

    by_length: ClassVar[bool] = False  # whether a rate depends on `total_steps`

    def __init__(self, settings: ScheduleSettings, learning_rate: float, total_steps: int) -> None:
        self.settings, self.base, self.total_steps = settings, learning_rate, total_steps

    def learning_rate(self, step: int) -> float:
        """The rate for training step `step`."""
        return self.base

    def momentum(self, step: int, own: float) -> float:
        """The momentum for training step `step`, where `own` is the optimizer's."""
        return own

    def epoch_end(self, value: float) -> None:
        """Called at the end of an epoch with the monitored value (higher is better)."""

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint, in types of JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load a state."""


class Cosine(Schedule):
    """Linear rise, then half a cosine down towards `end` (Loshchilov & Hutter 2017, without restarts).

    The factor on the base rate is `start` at step 0 and 1 at the peak: at step `warmup * total_steps`, or at step 1
    if that comes later. It is `end` at step `total_steps + 1`, which is the one after the last. So every step trains,
    with `end = 0` too, and a run of one step trains at the base rate.

    One-cycle (Smith & Topin 2018) is the same shape with a long rise from a small start. With `base_momentum` momentum
    mirrors it: it falls from the optimizer's to that at the peak, and returns.
    """

    by_length = True

    def learning_rate(self, step: int) -> float:
        """The rate for training step `step`, from 1 to `total_steps`."""
        low = self.settings.start if step <= self.settings.warmup * self.total_steps else self.settings.end
        return self.base * (low + (1 - low) * self._height(step))

    def momentum(self, step: int, own: float) -> float:
        """The momentum for training step `step`, where `own` is the optimizer's."""
        base = self.settings.base_momentum
        return own if base is None else own + (base - own) * self._height(step)

    def _height(self, step: int) -> float:
        """How high above its ends the cycle is at a step: 1 at the peak."""
        rise = self.settings.warmup * self.total_steps
        if step <= rise:
            return step / rise
        peak = max(rise, 1.0)
        done = min(1.0, (step - peak) / (self.total_steps + 1 - peak))
        return (1 + math.cos(math.pi * done)) / 2


class Plateau(Schedule):
    """Multiply the rate by `factor` when the monitored value has not risen for `patience` epochs."""

    def __init__(self, settings: ScheduleSettings, learning_rate: float, total_steps: int) -> None:
        super().__init__(settings, learning_rate, total_steps)
        self.rate, self.best, self.waited = learning_rate, -math.inf, 0

    def learning_rate(self, step: int) -> float:
        """The rate for training step `step`."""
        return self.rate

    def epoch_end(self, value: float) -> None:
        """Count the epochs without a rise."""
        if value > self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.settings.patience:
            lower = max(self.rate * self.settings.factor, self.settings.minimum)
            self.rate, self.waited = min(self.rate, lower), 0

    def state(self) -> dict[str, Any]:
        """Rate, best value and epochs waited."""
        best = None if math.isinf(self.best) else self.best  # JSON has no infinity
        return {"rate": self.rate, "best": best, "waited": self.waited}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load rate, best value and epochs waited."""
        self.rate, self.waited = state["rate"], state["waited"]
        self.best = -math.inf if state["best"] is None else state["best"]


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Schedule,
    "cosine": Cosine,
    "one_cycle": Cosine,
    "plateau": Plateau,
}


def build_schedule(settings: ScheduleSettings, learning_rate: float, total_steps: int) -> Schedule:
    """The schedule that `settings` name."""
    return SCHEDULES[settings.name](settings, learning_rate, total_steps)
