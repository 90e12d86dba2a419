"""Calibration: whether a class predicted with 80 % is right in 80 % of cases, and temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its modules are imported at their first use
from numpy.typing import NDArray

from foundation.errors import UserError
from foundation.scores import LEAST_PROBABILITY, log_loss

BINS = 15  # as Guo et al.
_LARGEST = 1000.0  # temperatures from 1 / 1000 to 1000


def apply_temperature(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Probabilities (N, K), their logarithms divided by `temperature`, and normalised again.

    For the softmax of one network it is the softmax of its logits / temperature (Guo et al. 2017, On calibration of
    modern neural networks, section 4.2). The most probable class stays the same. A probability below 2^-126 counts as
    that, as in the log loss.
    """
    return scipy.special.softmax(_log(probabilities) / temperature, axis=1)


def fit_temperature(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """The temperature that minimises the log loss of `probabilities` (N, K) for `labels` (N,) int.

    The loss is convex in 1 / temperature, so the root of its derivative is found. Raises `UserError` where no
    temperature from 1/1000 to 1000 minimises it: every image is right, or the network is worse than a guess.
    """
    logs = _log(probabilities)
    given = logs[np.arange(len(labels)), labels].mean()

    def slope(exponent: float) -> float:
        beta = np.exp(exponent)
        return float((scipy.special.softmax(beta * logs, axis=1) * logs).sum(axis=1).mean() - given)

    low, high = -np.log(_LARGEST), np.log(_LARGEST)
    if slope(high) <= 0:
        raise UserError(
            f"no temperature fits: the network is right on each of the {len(labels)} validation images, or nearly so, "
            "and any smaller temperature would lower the log loss; score it without calibrate"
        )
    if slope(low) >= 0:
        raise UserError(
            "no temperature fits: on the validation split the network is worse than equal probabilities; "
            "score it without calibrate"
        )
    return float(np.exp(-scipy.optimize.brentq(slope, low, high, xtol=1e-10)))


@dataclass(frozen=True)
class Reliability:
    """Confidence (probability of the predicted class) and accuracy in bins of equal width.

    Bin m of M has the images of confidence in ((m - 1) / M, m / M]. An empty bin has the values 0.
    """

    images: NDArray[np.int64]  # (M,)
    confidence: NDArray[np.float64]  # (M,) mean
    accuracy: NDArray[np.float64]  # (M,)
    log_loss: float

    @classmethod
    def of(cls, labels: NDArray[Any], probabilities: NDArray[Any], bins: int = BINS) -> Reliability:
        """Of `probabilities` (N, K) for `labels` (N,) int."""
        sure = np.asarray(probabilities, np.float64).max(axis=1)
        right = np.asarray(probabilities).argmax(axis=1) == labels
        number = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
        images = np.bincount(number, minlength=bins)
        sums = (np.bincount(number, each, minlength=bins) for each in (sure, right))
        confidence, accuracy = (total / np.maximum(images, 1) for total in sums)
        return cls(images, confidence, accuracy, log_loss(labels, probabilities))

    @property
    def error(self) -> float:
        """The expected calibration error (ECE): the mean of |accuracy - confidence| over bins, weighted by images.

        Naeini et al. 2015; in the form of Guo et al. 2017.
        """
        return float(self.images @ np.abs(self.accuracy - self.confidence) / self.images.sum())

    def as_dict(self) -> dict[str, Any]:
        """ECE, log loss and bins in types of JSON."""
        columns = (self.images.tolist(), self.confidence.tolist(), self.accuracy.tolist())
        rows = [dict(zip(("images", "confidence", "accuracy"), row, strict=True)) for row in zip(*columns, strict=True)]
        return {"ece": self.error, "log_loss": self.log_loss, "bins": rows}


def _log(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), LEAST_PROBABILITY))
