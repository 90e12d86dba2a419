"""The profile of a training step as files: `profile.csv` and `profile.png`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from cnn.reporting.style import BLUE, ORANGE, heading, saved_figure, shorten
from foundation.csv_cells import cell
from foundation.files import write_text

Row = tuple[str, float | None, float | None]  # a part, its seconds forward and backward
_TALLEST = 60  # parts that are drawn; of a larger network those that take longest


def write_profile(folder: Path, parts: Sequence[Row], step: float, images: int, device: str) -> None:
    """Write both files. `step` is the seconds of a step whose parts are not measured, with so many images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["part", "forward_ms", "backward_ms", "fraction"])
    total = sum(sum(filter(None, row[1:])) for row in parts)
    for name, *passes in parts:
        cells = ["" if seconds is None else f"{1000 * seconds:.4f}" for seconds in passes]
        writer.writerow([cell(name), *cells, f"{sum(filter(None, passes)) / (total or 1):.4f}"])
    write_text(folder / "profile.csv", text.getvalue())
    _draw(folder / "profile.png", parts, f"{images} images: {1000 * step:.1f} ms a step\n{shorten(device, 44)}")


def _draw(path: Path, parts: Sequence[Row], title: str) -> None:
    longest = sorted(range(len(parts)), key=lambda place: -sum(filter(None, parts[place][1:])))[:_TALLEST]
    drawn = [parts[place] for place in sorted(longest)]
    with saved_figure(path, 8.0, 1.3 + 0.24 * len(drawn)) as figure:
        axes = figure.subplots()
        forward, backward = ([1000 * (row[side] or 0.0) for row in drawn] for side in (1, 2))
        places = range(len(drawn))
        axes.barh(places, forward, color=BLUE, label="forward")
        axes.barh(places, backward, left=forward, color=ORANGE, label="backward")
        axes.set_yticks(places, [shorten(name, 44) for name, *_ in drawn], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("milliseconds, each part waited for")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=2)
        heading(axes, title)
