"""`python -m benchmarks.cpu_accuracy`: the numerical errors of the CPU engine's convolution algorithms.

Prints, for each algorithm, the largest error of one layer in float32 against the reference in float64, as a fraction
of the largest value. With `--runs NAME=FOLDER ...` it draws the curves of training runs that differ only in the
algorithm.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn.backends import CONVOLUTIONS, Window, get_ops
from cnn.reporting.provenance import collect_provenance
from cnn.reporting.style import BLUE, GREY, ORANGE, heading, saved_figure
from foundation.errors import UserError
from foundation.files import write_json

CHANNELS = (16, 64, 128, 256, 512)
_OPERATIONS = {"y": "conv2d", "dx": "conv2d_backward_input", "dw": "conv2d_backward_filter"}
_IMAGES, _SIDE, _FILTERS = 4, 12, 64
_COLOURS = (BLUE, ORANGE, GREY)


def layer_errors(seed: int) -> list[dict[str, Any]]:
    """For every algorithm and number of channels, the errors of y, dx and dw on standard normal noise."""
    rows = []
    exact, window = get_ops("numpy"), Window.over((_SIDE, _SIDE), 3, 1, "same")
    for channels in CHANNELS:
        random = np.random.default_rng(seed)
        x = random.standard_normal((_IMAGES, _SIDE, _SIDE, channels), np.float32)
        w = random.standard_normal((3, 3, channels, _FILTERS), np.float32)
        dy = random.standard_normal((_IMAGES, _SIDE, _SIDE, _FILTERS), np.float32)
        given = {"y": (x, w, None), "dx": (dy, w), "dw": (dy, x)}
        expected = {}
        for what, operation in _OPERATIONS.items():
            wide = [None if each is None else each.astype(np.float64) for each in given[what]]
            expected[what] = getattr(exact, operation)(*wide, window, 1)
        for name in CONVOLUTIONS:
            ops, row = get_ops("cpu", convolution=name), {"algorithm": name, "channels": channels}
            for what, operation in _OPERATIONS.items():
                actual = getattr(ops, operation)(*given[what], window, 1)
                row[what] = float(np.abs(actual - expected[what]).max() / np.abs(expected[what]).max())
            rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| channels | algorithm | y | dx | dw |", "| ---: | --- | ---: | ---: | ---: |"]
    lines += [
        f"| {row['channels']} | {row['algorithm']} | " + " | ".join(f"{row[what]:.1e}" for what in _OPERATIONS) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def metrics(folder: Path) -> Any:
    """A run's `metrics.csv` as a record array. Raises `UserError` if it is missing."""
    path = folder / "metrics.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing: name the folder of a run of cnn.train")
    return np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))


def draw_curves(path: Path, runs: Mapping[str, Any]) -> None:
    """Loss and validation accuracy by epoch, one colour per run."""
    with saved_figure(path, 9, 3.6) as figure:
        losses, accuracies = figure.subplots(1, 2)
        for colour, (name, rows) in zip(_COLOURS, runs.items(), strict=False):
            losses.plot(rows["epoch"], rows["train_loss"], "o-", color=colour, markersize=4, label=f"{name}: training")
            losses.plot(rows["epoch"], rows["val_loss"], "s--", color=colour, markersize=4, label="validation")
            accuracies.plot(rows["epoch"], rows["val_accuracy"], "s--", color=colour, markersize=4, label=name)
        for axes, title in ((losses, "loss"), (accuracies, "validation accuracy")):
            axes.set_xticks(next(iter(runs.values()))["epoch"])
            axes.set_xlabel("epoch")
            axes.grid(visible=True)
            axes.legend()
            heading(axes, title)


def main() -> int:
    """Print the table; draw and write the requested files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_accuracy", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", default=[], metavar="NAME=FOLDER", help="runs of cnn.train, at most three")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="of the runs' curves")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    chosen = parser.parse_args()
    named = [each.partition("=") for each in chosen.runs]
    if len(named) > len(_COLOURS) or not all(name and folder for name, _, folder in named):
        parser.error(f"--runs needs NAME=FOLDER, at most {len(_COLOURS)} of them")
    if bool(named) != bool(chosen.plot):
        parser.error("--runs and --plot belong together")
    try:
        runs = {name: metrics(Path(folder)) for name, _, folder in named}
    except UserError as error:
        parser.error(str(error))
    rows = layer_errors(chosen.seed)
    print(table(rows))
    if runs:
        draw_curves(chosen.plot, runs)
    if chosen.json:
        curves = {
            name: [dict(zip(run.dtype.names, map(float, row), strict=True)) for row in run]
            for name, run in runs.items()
        }
        metadata = {"seed": chosen.seed, "provenance": collect_provenance()}
        write_json(chosen.json, {**metadata, "layers": rows, "runs": curves})
    return 0


if __name__ == "__main__":
    sys.exit(main())
