"""The plot of a search: the best score over the trials, and the score of each trial over each option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.reporting.style import BLUE, GREY, ORANGE, heading, logarithmic, saved_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3


def plot_search(trials: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the trials: `number`, `state`, `value` (None for none), `options`, and `log`, those on a log axis.

    Nothing is drawn without a trial that has a value.
    """
    scored = [trial for trial in trials if trial["value"] is not None]
    if not scored:
        return
    keys = list(dict.fromkeys(key for trial in scored for key in trial["options"]))
    rows = 1 + math.ceil(len(keys) / _COLUMNS)
    with saved_figure(path, 10.0, 3.2 * rows) as figure:
        grid = figure.add_gridspec(rows, _COLUMNS)
        axes = figure.add_subplot(grid[0, :])
        _points(axes, scored, lambda trial: trial["number"])
        finished = [trial for trial in scored if trial["state"] == "complete"]
        best = [max(trial["value"] for trial in finished[: place + 1]) for place in range(len(finished))]
        axes.step([trial["number"] for trial in finished], best, where="post", color=ORANGE, label="best so far")
        axes.set_xlabel("trial")
        heading(axes, "Validation accuracy of the best epoch")
        axes.legend(loc="lower right")
        for place, key in enumerate(keys):
            axes = figure.add_subplot(grid[1 + place // _COLUMNS, place % _COLUMNS])
            having = [trial for trial in scored if key in trial["options"]]
            values = [trial["options"][key] for trial in having]
            if all(isinstance(value, int | float) for value in values):
                _points(axes, having, lambda trial, key=key: trial["options"][key])
                if key in having[0]["log"]:
                    logarithmic(axes, "x", min(values), max(values))
            else:
                known = sorted(set(map(str, values)), key=_numbers_first)
                _points(axes, having, lambda trial, key=key, known=known: known.index(str(trial["options"][key])))
                axes.set_xticks(range(len(known)), [shorten(name, 14) for name in known])
                axes.margins(x=0.2)
            axes.set_xlabel(shorten(key, 32))


def _numbers_first(text: str) -> tuple[bool, float, str]:
    """A key by which 64 comes before 128, and numbers before names."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return (False, number, text) if math.isfinite(number) else (True, 0.0, text)


def _points(axes: Axes, trials: Sequence[Mapping[str, Any]], place: Any) -> None:
    for state, colour, name in (("complete", BLUE, "finished"), ("pruned", GREY, "stopped early (last epoch)")):
        shown = [trial for trial in trials if trial["state"] == state]
        if shown:
            x, y = [place(trial) for trial in shown], [trial["value"] for trial in shown]
            axes.plot(x, y, "o", color=colour, markersize=4, label=name)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(axis="y")
