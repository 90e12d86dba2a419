"""The reliability diagram: accuracy by confidence, before and after temperature scaling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn.reporting.calibration import Reliability
from cnn.reporting.style import BLUE, GREY, ORANGE, PALE_BLUE, heading, saved_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_reliability(before: Reliability, after: Reliability, path: Path) -> None:
    """Draw accuracy over confidence for each bin that has images, and below it the images of each bin.

    `before` and `after` are of the same split and bins. The figure can be read at a width of 400 pixels.
    """
    with saved_figure(path, 4.2, 4.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        _draw(upper, before, ORANGE, "s", f"unscaled, ECE {before.error:.3f}")
        _draw(upper, after, BLUE, "o", f"with temperature, ECE {after.error:.3f}")
        upper.set_ylabel("accuracy")
        upper.set_ylim(0, 1)
        upper.legend(loc="upper left")
        heading(upper, f"Reliability, {after.images.sum():,} images")
        edges = np.linspace(0, 1, len(after.images) + 1)
        lower.bar(edges[:-1], after.images, width=np.diff(edges), align="edge", color=PALE_BLUE, edgecolor="white")
        lower.set_ylabel("images")
        lower.set_xlabel("confidence (probability of the prediction)")
        lower.set_xlim(0, 1)
        for axis in (upper.yaxis, lower.xaxis):
            axis.set_major_formatter("{x:.0%}")
        upper.grid(axis="both")


def describe_reliability(before: Reliability, after: Reliability, temperature: float) -> str:
    """The figure in a sentence, as alternative text."""
    kind = "too sure" if before.images @ (before.confidence - before.accuracy) > 0 else "not sure enough"
    return (
        f"Accuracy by confidence in {len(after.images)} bins over {after.images.sum():,} images. Unscaled, the "
        f"network is {kind}: the expected calibration error is {before.error:.3f}. With temperature "
        f"{temperature:.2f} it is {after.error:.3f}."
    )


def _draw(axes: Axes, reliability: Reliability, colour: str, marker: str, label: str) -> None:
    used = reliability.images > 0
    axes.plot(
        reliability.confidence[used],
        reliability.accuracy[used],
        color=colour,
        marker=marker,
        markersize=4.5,
        label=label,
    )
