"""The plot of a learning-rate range test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.reporting.style import BLUE, GREY, ORANGE, heading, logarithmic, saved_figure


def plot_rates(rates: NDArray[Any], losses: NDArray[Any], smoothed: NDArray[Any], suggested: float, path: Path) -> None:
    """Draw the loss of each step and the smoothed loss, (steps,) each, over the rate; mark the suggested rate."""
    with saved_figure(path, 5.6, 3.6) as figure:
        axes = figure.subplots()
        axes.plot(rates, losses, color=GREY, alpha=0.5, linewidth=0.8, label="loss of a batch")
        axes.plot(rates, smoothed, color=BLUE, label="smoothed")
        axes.axvline(suggested, color=ORANGE, linewidth=1.5, linestyle=(0, (4, 2)), label=f"suggested: {suggested:.2g}")
        logarithmic(axes, "x", float(rates.min()), float(rates.max()))
        # The divergence at the end would flatten the rest.
        low, start = float(min(losses.min(), smoothed.min())), float(np.median(smoothed[: max(1, len(smoothed) // 4)]))
        axes.set_ylim(low - 0.05 * (start - low) - 1e-6, start + 0.5 * (start - low) + 1e-6)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.grid(axis="both")
        axes.legend(loc="best")
        heading(axes, "Learning-rate range test")
