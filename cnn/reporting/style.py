"""The common style of the figures, and saving them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from foundation.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito: distinguishable with every kind of colour blindness, and by lightness in grey print.
BLUE = "#0072B2"
ORANGE = "#D55E00"
PALE_BLUE = "#8fc1df"
PALE_ORANGE = "#edb98f"
INK = "#24292f"
GREY = "#6e7781"
FAINT = "#d8dee4"

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # part of matplotlib, so that figures are the same on every machine
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class may be named "$x$"
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def saved_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield a figure of `width` x `height` inches, and write it to `path` as PNG if the block succeeds.

    The figure is made without pyplot, so that there is no global state to close and no window system is needed.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        with atomic_path(path) as temporary, warnings.catch_warnings():
            # Characters that the font lacks are drawn as boxes and must not fail a run.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(temporary, format="png", dpi=160)


def heading(axes: Axes, text: str) -> None:
    """A left-aligned bold title."""
    axes.set_title(text, loc="left", pad=10)


def logarithmic(axes: Axes, name: Literal["x", "y"], low: float, high: float) -> None:
    """Make the axis `name` logarithmic, with numbers at its ticks; its values run from `low` to `high`."""
    axes.set(**{f"{name}scale": "log"})
    # Ticks are at powers of ten, and between them where there would be hardly any.
    subs = (1.0, 2.0, 5.0) if high <= 20 * low else (1.0, 3.0) if high <= 100 * low else (1.0,)
    axes.locator_params(name, subs=subs)
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_formatter("{x:g}")  # the usual one writes powers in TeX, which is shown as it is
    axis.set_minor_formatter("")


def shorten(name: str, length: int = 16) -> str:
    """`name` on one line of at most `length` characters."""
    line = " ".join(name.split())
    return line if len(line) <= length else line[: length - 1] + "…"
