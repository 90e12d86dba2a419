"""The plot of a leaderboard: the validation accuracy of each configuration as a bar, and a dot per seed.

Without test scores, as on the page: a configuration is chosen by its validation score.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.reporting.leaderboard_table import short
from cnn.reporting.style import INK, PALE_BLUE, heading, saved_figure, shorten
from cnn.reporting.sweeps import Entry, varying_keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = 40  # configurations
_LINE, _BAR, _GAP = 0.17, 0.26, 0.16  # inches: a line of a name, a bar, the space between two rows
_WIDTH, _LINES = 44, 4  # characters of a line of a name, and its lines


def plot_leaderboard(entries: Sequence[Entry], path: Path) -> None:
    """Draw the best configurations that have a score: mean, deviation, and the single seeds. Nothing without any."""
    scored = [entry for entry in entries if entry.values("val_accuracy")]
    if not scored:
        return
    shown = scored[:_SHOWN]
    names = _names(shown, varying_keys(entries))
    heights = [max(_BAR, _LINE * (name.count("\n") + 1)) + _GAP for name in names]
    with saved_figure(path, 9.0, 1.1 + sum(heights)) as figure:
        axes = figure.subplots()
        places = [sum(heights[:row]) + height / 2 for row, height in enumerate(heights)]
        for place, entry in zip(places, shown, strict=True):
            _draw_bar(axes, place, entry)
        axes.set_yticks(places, names, fontsize=8.5)
        axes.set_ylim(sum(heights), 0)  # the first entry is the best, shown at the top
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        several = any(entry.deviation("val_accuracy") is not None for entry in shown)
        heading(axes, "Validation accuracy" + (", mean ± deviation over seeds" if several else ""))
        axes.set_xlabel(_left_out(entries, scored, shown))


def _left_out(entries: Sequence[Entry], scored: Sequence[Entry], shown: Sequence[Entry]) -> str:
    """What is not drawn."""
    lower = len(scored) - len(shown)
    jobs = sum(e.failed + len(e.pruned) + len(e.runs) - len(e.values("val_accuracy")) for e in entries)
    parts = [f"{lower} lower configuration{'s'[: lower > 1]}"] if lower else []
    parts += [f"{jobs} job{'s'[: jobs > 1]} without a score"] if jobs else []
    return f"not shown: {', '.join(parts)}" if parts else ""


def _draw_bar(axes: Axes, place: float, entry: Entry) -> None:
    mean, deviation, values = entry.mean("val_accuracy"), entry.deviation("val_accuracy"), entry.values("val_accuracy")
    assert mean is not None
    axes.barh(place, mean, height=_BAR, color=PALE_BLUE)
    axes.plot(values, [place] * len(values), "o", color=INK, markersize=3.5, zorder=3)
    spread = ""
    if deviation is not None:
        axes.errorbar(mean, place, xerr=deviation, color=INK, capsize=3, linewidth=1)
        spread = f" ± {100 * deviation:.1f}"
    left, right = min(*values, mean - (deviation or 0.0)), max(*values, mean + (deviation or 0.0))
    # At the left of the bar, but beside it where it would lie across the dots, if there is room.
    beside = left < 0.2 and right < 0.8
    axes.text(right + 0.015 if beside else 0.01, place, f"{100 * mean:.1f}{spread} %", va="center", fontsize=8.5)


def _names(entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """The model of each entry with the overrides that differ between entries, in lines."""
    endings = [key.rpartition(".")[2] for key in keys]
    called = {key: end if endings.count(end) == 1 else key for key, end in zip(keys, endings, strict=True)}
    names = []
    for entry in entries:
        values = (f"{called[key]}={shorten(short(entry.overrides[key]), 30)}" for key in keys if key in entry.overrides)
        text = " ".join(", ".join(filter(None, [entry.model, *values])).split())
        names.append("\n".join(textwrap.wrap(text, _WIDTH, max_lines=_LINES, placeholder=" …", break_on_hyphens=False)))
    return names
