"""Is an export right? Its output is compared with ours for the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.exporting.network import Portable
from foundation.errors import UserError

TOLERANCE = 1e-4  # largest error of a probability, and of a logit as a fraction of the largest logit (of 1, if less)
UNCHECKED = "check=false writes without"  # what to do where the other library is not installed
_IMAGES = 24

Predict = Callable[[NDArray[Any]], NDArray[Any]]  # stored pixels (n, h, w, c) to logits (n, classes)


@dataclass(frozen=True)
class Parity:
    """How far the output of another library is from ours."""

    referee: str  # the library and its version
    images: int
    probabilities: float  # largest absolute difference
    logits: float  # largest absolute difference
    largest_logit: float
    tolerance: float = TOLERANCE
    rounding: float | None = None  # largest difference of probabilities that rounding the weights has made

    @property
    def holds(self) -> bool:
        """Whether the differences are within the tolerance; NaN is not."""
        of_logits = self.logits / max(1.0, self.largest_logit)
        return self.probabilities <= self.tolerance and of_logits <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        found = (
            f"on {self.images} inputs {self.referee} differs from our own output by at most {self.probabilities:.1e} "
            f"in a probability and {self.logits:.1e} in a logit (logits reach {self.largest_logit:.3g})"
        )
        if self.rounding is None:
            return found
        return f"{found}; rounding the weights had changed a probability by at most {self.rounding:.1e}"


def compare(network: Portable, referee: str, predict: Predict, more: NDArray[Any] | None = None) -> Parity:
    """The parity of `predict` on images made for this, and on `more` (n, h, w, c).

    Raises `UserError` if an output has another shape or is too far away.
    """
    inputs = check_inputs(network)
    if more is not None and len(more):
        inputs = np.concatenate([inputs, more])
    own, other = network.logits(inputs), np.asarray(predict(inputs))
    if other.shape != own.shape:
        raise UserError(f"{referee} gives an output of shape {other.shape}, not {own.shape}: nothing was written")
    found = Parity(
        referee,
        len(inputs),
        _largest(softmax(other) - softmax(own)),
        _largest(other.astype(np.float64) - own),
        _largest(own),
    )
    if not found.holds:
        raise UserError(f"{found}; more than {TOLERANCE:g} is wrong, so nothing was written")
    return found


def check_inputs(network: Portable) -> NDArray[Any]:
    """Inputs on which exports are compared: plain ones, noise, and smooth ones, which look more like images."""
    rng = np.random.default_rng(20)
    *sides, channels = network.shape
    noise = rng.standard_normal((_IMAGES, *sides, channels))
    if sides:  # a few waves across the image, another in each channel
        rows, columns = (np.linspace(0, 1, side) for side in sides)
        waves = rng.uniform(-3, 3, (_IMAGES // 2, 3, channels))
        smooth = 2 * np.sin(
            waves[:, None, None, 0] * rows[None, :, None, None] * 3
            + waves[:, None, None, 1] * columns[None, None, :, None] * 3
            + waves[:, None, None, 2]
        )
        noise[: _IMAGES // 2] = smooth
    noise[0], noise[1] = -3, 3  # black and white
    if not network.scaling.of_bytes:
        return (noise - network.scaling.offset) / network.scaling.scale
    return np.clip(128 + 60 * noise, 0, 255).astype(np.uint8)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities (n, classes)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _largest(difference: NDArray[Any]) -> float:
    return float(np.abs(difference).max(initial=0.0))
