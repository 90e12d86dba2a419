"""Which epoch is best so far, and whether to wait for a better one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Best:
    """Follows the validation accuracy; ties go to the earlier epoch."""

    patience: int | None = None  # epochs without a better one before training stops; None never stops
    value: float = -math.inf
    epoch: int = 0

    def update(self, value: float, epoch: int) -> bool:
        """Whether `value` is the best so far."""
        if value > self.value:
            self.value, self.epoch = value, epoch
            return True
        return False

    def exhausted(self, epoch: int) -> bool:
        """Whether patience has run out after `epoch`."""
        return self.patience is not None and epoch - self.epoch >= self.patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep, JSON-ready."""
        return {"value": None if math.isinf(self.value) else self.value, "epoch": self.epoch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        self.value = -math.inf if state["value"] is None else state["value"]
        self.epoch = state["epoch"]
