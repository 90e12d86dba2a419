"""Selection of the best epoch, and early stopping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Best:
    """Tracks the best validation accuracy; of equal values the earlier epoch is the best."""

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
        """Whether there was no better epoch within `patience` epochs."""
        return self.patience is not None and epoch - self.epoch >= self.patience

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint, in types of JSON."""
        return {"value": None if math.isinf(self.value) else self.value, "epoch": self.epoch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Load a state."""
        self.value = -math.inf if state["value"] is None else state["value"]
        self.epoch = state["epoch"]
