"""The plots of the comparison on the CPU: the layers of a step, and the growth of its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import StrMethodFormatter

from cnn.reporting.style import BLUE, GREY, ORANGE, PALE_BLUE, PALE_ORANGE, heading, saved_figure
from foundation.errors import UserError

Layers = Mapping[str, Mapping[str, float]]  # ms of `forward` and `backward` by layer
Pair = tuple[float, float]  # ms of forward and backward

_X_LABELS = {
    "batch": "images in the batch",
    "width": "width, times the model's own",
    "side": "side of the image, pixels",
}


def merged(ours: Layers, theirs: Layers) -> dict[str, tuple[Pair, Pair]]:
    """Times of ours and PyTorch's by our blocks, in order: one block is several of PyTorch's layers."""
    return {name: (_sum(ours, [name]), _sum(theirs, name.split(" + "))) for name in ours}


def _sum(layers: Layers, names: Sequence[str]) -> Pair:
    found = [layers[name] for name in names if name in layers]
    return sum(each["forward"] for each in found), sum(each["backward"] for each in found)


def draw_breakdown(path: Path, cell: Mapping[str, Any]) -> None:
    """A training step block by block, ours and PyTorch's in its faster memory format."""
    layout = cell["torch_train_layout"]
    rows = merged(cell["layers"]["ours"], cell["layers"][layout])
    names, at = list(rows), np.arange(len(rows))
    with saved_figure(path, 9, 1.6 + 0.32 * len(rows)) as figure:
        axes = figure.add_subplot()
        for side, (shift, colours) in enumerate(((-0.19, (PALE_BLUE, BLUE)), (0.19, (PALE_ORANGE, ORANGE)))):
            who = ("ours", f"PyTorch, {layout.replace('_', ' ')}")[side]
            forward = np.array([rows[name][side][0] for name in names])
            backward = np.array([rows[name][side][1] for name in names])
            axes.barh(at + shift, forward, 0.36, color=colours[0], label=f"{who}: forward")
            axes.barh(at + shift, backward, 0.36, left=forward, color=colours[1], label="backward, update, rest")
        axes.set_yticks(at, names)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.grid(axis="x")
        axes.set_xlabel("ms of a training step")
        threads = f"{cell['threads']} thread{'s' if cell['threads'] > 1 else ''}"
        heading(
            axes,
            f"{cell['model']}, batch {cell['batch']}, {threads}: ours {cell['ours_train_ms']:.1f} ms, "
            f"PyTorch {cell['torch_train_ms']:.1f} ms",
        )
        axes.legend(loc="lower right")


def draw_sweep(path: Path, over: str, cells: Sequence[Mapping[str, Any]]) -> None:
    """Step time against `over`, both axes logarithmic, and the ratio below."""
    done = [cell for cell in cells if "train_ratio" in cell]
    if not done:
        raise UserError("every point of the sweep failed: there is nothing to draw")
    x = [cell[over] for cell in done]
    with saved_figure(path, 7.5, 6.5) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.loglog(x, [cell["ours_train_ms"] for cell in done], "o-", color=BLUE, markersize=4, label="ours")
        for layout, style in (("contiguous", "--"), ("channels_last", "-")):
            times = [cell["torch"][layout]["train"]["median_ms"] for cell in done]
            label = f"PyTorch, {layout.replace('_', ' ')}"
            upper.loglog(x, times, "s" + style, color=ORANGE, markersize=4, label=label)
        upper.set_ylabel("ms of a training step")
        upper.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # the default writes powers in TeX
        upper.grid(which="major")
        upper.legend()
        first = cells[0]
        fixed = [f"{key} {first[key]}" for key in ("batch", "side") if key != over]
        heading(upper, f"{first['model']}, {', '.join(fixed)}, {first['threads']} threads")
        lower.semilogx(x, [cell["train_ratio"] for cell in done], "o-", color=BLUE, markersize=4)
        lower.axhline(1, color=GREY, linewidth=0.8)
        lower.set_ylim(bottom=0)
        lower.set_ylabel("ours / PyTorch's best")
        lower.set_xlabel(_X_LABELS[over])
        # A tick label too close to the one before it is left out.
        names = [f"{each:g}" if each >= 1.1 * before else "" for before, each in pairwise([0.0, *x])]
        lower.set_xticks(x, names, rotation=45 if len(x) > 10 else 0)
        lower.minorticks_off()
        lower.grid()
