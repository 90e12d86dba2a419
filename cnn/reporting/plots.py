"""The figures of one run: curves, confusion matrix, contact sheet of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnn.reporting.metrics_csv import best_row, is_number
from cnn.reporting.style import BLUE, GREY, INK, ORANGE, heading, logarithmic, saved_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Sequence[Mapping[str, Any]]


def plot_curves(history: History, path: Path, best_epoch: int | None = None) -> None:
    """Draw loss, accuracy and learning rate over the epochs of `history` (rows of `metrics.csv`).

    `best_epoch` is marked; None is the epoch of the highest validation accuracy.
    """
    if not history:
        raise ValueError("there is no epoch to draw")
    best = best_row(history, best_epoch)
    with saved_figure(path, 10.5, 3.5) as figure:
        loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(3, 3, 2))
        _draw_pair(loss, history, "loss")
        _draw_pair(accuracy, history, "accuracy")
        _draw_series(rate, history, "learning_rate", INK, "learning rate")
        loss.legend(loc="best")
        heading(loss, "Loss")
        heading(accuracy, "Accuracy")
        heading(rate, "Learning rate")
        _start_at_zero(loss, history, "train_loss", "val_loss")
        _start_at_zero(rate, history, "learning_rate")
        accuracy.yaxis.set_major_formatter("{x:.0%}")
        rate.yaxis.set_major_formatter("{x:g}")
        for axes in (loss, accuracy, rate):
            axes.grid(axis="y")
            axes.set_xlabel("epoch")
            axes.set_xlim(*_epoch_limits(history))
            axes.locator_params("x", integer=True, nbins=6, min_n_ticks=1)
            if best is not None:
                axes.axvline(best["epoch"], color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        if best is not None:
            accuracy.plot(best["epoch"], best["val_accuracy"], "o", color=ORANGE, markersize=8, zorder=4)
            heading(accuracy, f"Accuracy · best {best['val_accuracy']:.1%} at epoch {best['epoch']}")


def plot_confusion_matrix(confusion: NDArray[np.integer[Any]], classes: Sequence[str], path: Path) -> None:
    """Draw `confusion` (K, K) int, row = label: colour and percentage by row, and the count in each cell."""
    count = len(classes)
    if confusion.shape != (count, count):
        raise ValueError(f"the confusion matrix is {confusion.shape}, there are {count} classes")
    support = confusion.sum(axis=1)
    fraction = confusion / np.maximum(support, 1)[:, None]
    names = [shorten(name, 12) for name in classes]
    side = float(np.clip(0.82 * count, 3.2, 16))
    with saved_figure(path, side + 2.0, side + 1.3) as figure:
        axes = figure.subplots()
        axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(count), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), [f"{name} ({total:,})" for name, total in zip(names, support, strict=True)])
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class (images)")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        # White lines between the cells separate neighbours of one colour.
        edges = np.arange(1, count) - 0.5
        axes.hlines(edges, -0.5, count - 0.5, color="white", linewidth=2)
        axes.vlines(edges, -0.5, count - 0.5, color="white", linewidth=2)
        if count <= 30:  # with more classes only colours are shown
            _write_cells(axes, confusion, fraction)
        heading(axes, f"{np.trace(confusion):,} of {confusion.sum():,} images right")


def plot_predictions(
    images: NDArray[np.uint8],
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    path: Path,
    columns: int = 8,
    mistake_rows: int = 2,
    right_rows: int = 1,
) -> None:
    """Draw a contact sheet of the most confident mistakes and, below, of the most confident right answers.

    `images` (N, H, W, C) uint8, `labels` (N,) int, `probabilities` (N, K) float.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    predicted = probabilities.argmax(axis=1)
    by_confidence = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = by_confidence[predicted[by_confidence] != labels[by_confidence]]
    right = by_confidence[predicted[by_confidence] == labels[by_confidence]]
    count = f"in {len(labels):,} images"
    sections = (
        (f"Most confident mistakes · {len(wrong):,} {count}", wrong[: mistake_rows * columns], ORANGE),
        (f"Most confident right answers · {len(right):,} {count}", right[: right_rows * columns], BLUE),
    )
    # Positions are in inches from the top left, in one axes for all tiles: an axes for each takes many times as long.
    tile, gap, title_height, caption_height = 1.2, 0.1, 0.36, 0.44
    rows = [math.ceil(len(chosen) / columns) for _, chosen, _ in sections]
    height = sum(title_height + (used or 0.4) * (tile + caption_height) for used in rows)
    width = gap + columns * (tile + gap)
    with saved_figure(path, width, height) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        top = 0.0
        for (title, chosen, colour), used in zip(sections, rows, strict=True):
            axes.text(gap, top + 0.08, title, va="top", fontsize=11, fontweight="bold")
            top += title_height
            if not used:
                axes.text(gap, top + 0.05, "none", va="top", color=GREY)
            for place, index in enumerate(chosen):
                row, column = divmod(place, columns)
                left, upper = gap + column * (tile + gap), top + row * (tile + caption_height)
                prediction, label = predicted[index], labels[index]
                caption = f"{shorten(classes[prediction])} {probabilities[index, prediction]:.0%}"
                if prediction != label:
                    caption += f"\nlabel: {shorten(classes[label])}"
                _show(axes, images[index], (left, upper, tile), caption, colour)
            top += (used or 0.4) * (tile + caption_height)
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
        axes.set_axis_off()


def _draw_pair(axes: Axes, history: History, name: str) -> None:
    _draw_series(axes, history, f"train_{name}", BLUE, "train")
    _draw_series(axes, history, f"val_{name}", ORANGE, "validation")


def _draw_series(axes: Axes, history: History, key: str, colour: str, label: str) -> None:
    # A gap where nothing was measured.
    points = [float(row[key]) if is_number(row.get(key)) else math.nan for row in history]
    # Dots show the epochs if there are few; a single epoch is only a dot.
    marker = "o" if len(points) <= 20 else ""
    axes.plot([row["epoch"] for row in history], points, color=colour, label=label, marker=marker, markersize=3.5)


def _start_at_zero(axes: Axes, history: History, *keys: str) -> None:
    """Start the vertical axis at zero, or make it logarithmic if the largest value is far above the smallest."""
    values = [float(row[key]) for row in history for key in keys if is_number(row.get(key))]
    if values and 0 < 50 * min(values) < max(values) and keys != ("learning_rate",):
        logarithmic(axes, "y", min(values), max(values))
    elif values and max(values) > 0:
        axes.set_ylim(0, 1.06 * max(values))


def _epoch_limits(history: History) -> tuple[float, float]:
    """The range of the epochs with a margin: half an epoch for a few of them, more for many."""
    first, last = history[0]["epoch"], history[-1]["epoch"]
    margin = max(0.5, 0.03 * (last - first))
    return first - margin, last + margin


def _write_cells(axes: Axes, confusion: NDArray[Any], fraction: NDArray[Any]) -> None:
    """Write the count into each cell and, if there is room, the percentage of its row below it."""
    roomy = len(confusion) <= 15
    for (row, column), count in np.ndenumerate(confusion):
        if count == 0:
            axes.text(column, row, "·", ha="center", va="center", color=GREY)
            continue
        colour = "white" if fraction[row, column] > 0.55 else INK
        _write(axes, row, column, f"{count:,}", colour, points_up=5 if roomy else 0, size=10)
        if roomy:
            percent = f"{fraction[row, column]:.0%}" if fraction[row, column] >= 0.01 else "<1%"
            _write(axes, row, column, percent, colour, points_up=-9, size=7.5)


def _write(axes: Axes, row: int, column: int, text: str, colour: str, points_up: int, size: float) -> None:
    """Write `text` into a cell, shifted in points so that two lines keep their distance in cells of any size."""
    axes.annotate(
        text,
        (column, row),
        xytext=(0, points_up),
        textcoords="offset points",
        ha="center",
        va="center",
        color=colour,
        fontsize=size,
    )


def _show(axes: Axes, image: NDArray[np.uint8], place: tuple[float, float, float], caption: str, colour: str) -> None:
    """Show an image (H, W, C) uint8 in a frame with a caption below; `place` is its left edge, its top and its side."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - slow to import

    left, top, side = place
    height, width = (side * length / max(image.shape[:2]) for length in image.shape[:2])
    left, low = left + (side - width) / 2, top + (side + height) / 2  # centred, if it is not square
    extent = (left, left + width, low, low - height)
    plane = image if image.shape[-1] == 3 else image[..., 0]  # of a grey image; the colour map is for these alone
    axes.imshow(plane, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    axes.add_patch(Rectangle((left, low - height), width, height, fill=False, color=colour, linewidth=1.5))
    axes.text(left + width / 2, low + 0.05, caption, ha="center", va="top", fontsize=8.5)
