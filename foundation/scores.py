"""Scores of both training and reporting, so that a name has one definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The smallest probability in the log loss: that of a float32 softmax that rounds to zero.
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)


def log_loss(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Mean negative log-likelihood in nats of `labels` (N,) int under `probabilities` (N, K) of any float type.

    Summed in float64, unweighted. A probability below 2^-126, the smallest normal float32, counts as 2^-126, so that
    one image costs at most 87.34 nats. NaN if a label's probability is NaN. Raises `IndexError` for a label outside
    the K classes.
    """
    likelihood = np.asarray(probabilities)[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(likelihood, LEAST_PROBABILITY)).mean())
