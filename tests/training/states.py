"""What training has come to, for comparisons: the tensors of a step, the history of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnn.training.step import TrainingStep


def everything(step: TrainingStep) -> dict[str, np.ndarray]:
    """Parameters, running statistics and moments; slow weights and averages, where there are any."""
    found = step.model.state() | step.optimizer.state()
    if step.lookahead is not None:
        found |= {f"slow/{name}": tensor for name, tensor in step.lookahead.state().items()}
    if step.average is not None:
        found |= {f"average/{name}": tensor for name, tensor in step.average.model.state().items()}
    return found


def without_times(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what differs from run to run."""
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in history
    ]
