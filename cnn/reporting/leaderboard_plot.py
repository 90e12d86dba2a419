"""The plot of a leaderboard: two bars per configuration, and a dot per seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.reporting.style import INK, PALE_BLUE, PALE_ORANGE, heading, saved_figure, shorten
from cnn.reporting.sweeps import Entry, varying_keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 0.3  # of one bar; a row holds two, validation above test


def plot_leaderboard(entries: Sequence[Entry], path: Path) -> None:
    """Draw validation and test accuracy of each entry that has a score: mean, deviation, and the single seeds."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow to import
    from matplotlib.patches import Patch  # noqa: PLC0415

    scored = [entry for entry in entries if entry.runs]
    failed = sum(entry.failed for entry in entries)
    with saved_figure(path, 9.0, 1.5 + 0.75 * len(scored)) as figure:
        axes = figure.subplots()
        for row, entry in enumerate(scored):
            _draw_bar(axes, row - _HEIGHT / 2, entry, "val_accuracy", PALE_BLUE)
            _draw_bar(axes, row + _HEIGHT / 2, entry, "test_accuracy", PALE_ORANGE)
        axes.set_yticks(range(len(scored)), _names(scored, varying_keys(entries)))
        axes.invert_yaxis()  # the first entry is the best, shown at the top
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        # Built by hand, because no entry needs to have all three.
        legend = [
            Patch(color=PALE_BLUE, label="validation (ranks)"),
            Patch(color=PALE_ORANGE, label="test"),
            Line2D([], [], color=INK, marker="o", linestyle="", markersize=4, label="one seed"),
        ]
        figure.legend(handles=legend, loc="outside lower center", ncols=3)
        lost = f" · {failed} {'job' if failed == 1 else 'jobs'} without a score" if failed else ""
        heading(axes, f"Accuracy, mean ± deviation over seeds{lost}")


def _draw_bar(axes: Axes, row: float, entry: Entry, key: str, colour: str) -> None:
    mean, deviation, values = entry.mean(key), entry.deviation(key), entry.values(key)
    if mean is None:
        return
    axes.barh(row, mean, height=_HEIGHT * 0.9, color=colour)
    axes.plot(values, [row] * len(values), "o", color=INK, markersize=3.5, zorder=3)
    text = f"{mean:.1%}"
    if deviation is not None:
        axes.errorbar(mean, row, xerr=deviation, color=INK, capsize=3, linewidth=1)
        text = f"{100 * mean:.1f} ± {100 * deviation:.1f} %"
    axes.text(0.01, row, text, va="center", fontsize=8.5)


def _names(entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """The model of each entry and, on a second line, the overrides that differ between entries."""
    names = []
    for entry in entries:
        differing = ", ".join(f"{key}={entry.overrides[key]}" for key in keys if key in entry.overrides)
        names.append("\n".join(filter(None, [shorten(entry.model, 28), shorten(differing, 36)])))
    return names
