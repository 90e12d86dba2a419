"""Charts as inline SVG: colours by the classes of the page's style, so that they follow light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 320, 215  # a chart's own units: pixels where it is as wide as a phone, so that its text stays legible
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 24, 36  # margins for ticks and labels

Points = Sequence[tuple[float, float]]  # a value that is no number interrupts the line


@dataclass(frozen=True)
class Axis:
    """The range of an axis, and how its numbers are written."""

    low: float
    high: float
    label: str = ""
    text: Callable[[float], str] = "{:g}".format
    log: bool = False
    whole: bool = False  # ticks at whole numbers only
    ticks: int = 5  # about so many

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, at = (math.log10(each) for each in (self.low, self.high, value)) if self.log else self._ends(value)
        return (at - low) / ((high - low) or 1.0)

    def _ends(self, value: float) -> tuple[float, float, float]:
        return self.low, self.high, value

    def marks(self) -> list[float]:
        """Round numbers in the range: multiples of 1, 2 or 5 times a power of ten; of a log axis powers of ten."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first) / self.ticks))
            return [10.0**power for power in range(first, last + 1, every)] or [self.low, self.high]
        rough = (self.high - self.low) / self.ticks or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next((factor for factor in (1, 2, 5, 10) if rough <= factor * power * (1 + 1e-9)), 10)
        if self.whole:
            step = max(1.0, float(round(step)))
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


class Chart:
    """A drawing area with two axes. Methods add marks in the order of painting; `markup` is the result."""

    def __init__(self, name: str, title: str, description: str, x: Axis, y: Axis, height: int = HEIGHT) -> None:
        """`name` is unique in the page; `title` and `description` are what a screen reader says."""
        self.name, self.title, self.description, self.x, self.y = name, title, description, x, y
        self.height = height
        self._parts: list[Markup] = []
        self._legend: list[tuple[str, str, str]] = []
        self._draw_axes()

    def line(self, points: Points, kind: str, label: str = "", dashes: str = "", dots: bool = False) -> None:
        """A line through `points` in the colour `kind` (blue, orange, grey, ink), with an entry in the legend."""
        for part in _runs(points):
            places = " ".join(f"{x},{y}" for x, y in map(self._at, part))
            style = Markup(' stroke-dasharray="{}"').format(dashes) if dashes else Markup("")
            if len(part) > 1:
                self._parts.append(Markup('<polyline class="{}" points="{}"{}/>').format(kind, places, style))
            for x, y in map(self._at, part) if dots or len(part) == 1 else ():
                self._parts.append(Markup('<circle class="{}" cx="{}" cy="{}" r="2.5"/>').format(kind, x, y))
        if label:
            self._legend.append((label, kind, dashes))

    def dot(self, x: float, y: float, kind: str) -> None:
        """A large dot."""
        self._parts.append(Markup('<circle class="{}" cx="{}" cy="{}" r="4.5"/>').format(kind, *self._at((x, y))))

    def bar(self, left: float, right: float, value: float, kind: str) -> None:
        """A bar from the bottom up to `value`."""
        (x0, y1), (x1, _) = self._at((left, value)), self._at((right, value))
        bottom = self._at((left, self.y.low))[1]
        rect = '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>'
        given = (_short(x0 + 0.75), y1, _short(max(x1 - x0 - 1.5, 0.5)), _short(max(bottom - y1, 0)))
        self._parts.append(Markup(rect).format(kind, *given))

    def upright(self, x: float, kind: str = "grey") -> None:
        """A thin dashed line from bottom to top."""
        at = self._at((x, self.y.low))[0]
        line = '<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}" stroke-dasharray="2 3" stroke-width="1"/>'
        self._parts.append(Markup(line).format(kind, at, at, _TOP, self.height - _BOTTOM))

    @property
    def markup(self) -> Markup:
        """The `<svg>` element."""
        ids = f"{self.name}-title", f"{self.name}-desc"
        head = Markup(
            '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-labelledby="{} {}"><title id="{}">{}</title>'
            '<desc id="{}">{}</desc>'
        ).format(WIDTH, self.height, *ids, ids[0], self.title, ids[1], self.description)
        return head + Markup("").join(self._parts) + self._keys() + Markup("</svg>")

    def _at(self, point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + self.x.place(point[0]) * (WIDTH - _LEFT - _RIGHT)
        y = self.height - _BOTTOM - self.y.place(point[1]) * (self.height - _TOP - _BOTTOM)
        return _short(x), _short(y)

    def _draw_axes(self) -> None:
        bottom, right = self.height - _BOTTOM, WIDTH - _RIGHT
        for value in self.y.marks():
            y = self._at((self.x.low, value))[1]
            self._parts.append(
                Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, right, y, y)
            )
            self._text(_LEFT - 5, y + 4, self.y.text(value), "end")
        for value in self.x.marks():
            self._text(self._at((value, self.y.low))[0], bottom + 14, self.x.text(value), "middle")
        self._parts.append(
            Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, right, bottom, bottom)
        )
        if self.x.label:
            self._text((_LEFT + right) / 2, self.height - 5, self.x.label, "middle")

    def _keys(self) -> Markup:
        found, x = Markup(""), float(_LEFT)
        for label, kind, dashes in self._legend:
            style = Markup(' stroke-dasharray="{}"').format(dashes) if dashes else Markup("")
            line = Markup('<line class="{}" x1="{}" x2="{}" y1="9" y2="9"{}/>')
            found += line.format(kind, _short(x), _short(x + 20), style)
            found += Markup('<text x="{}" y="13">{}</text>').format(_short(x + 25), label)
            x += 38 + 6.2 * len(label)
        return found

    def _text(self, x: float, y: float, text: str, anchor: str) -> None:
        given = (_short(x), _short(y), anchor, escape(text))
        self._parts.append(Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(*given))


def _short(value: float) -> float:
    return round(value, 1)


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """The points in runs without a gap."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None or not math.isfinite(y):
            found.append([])
        else:
            found[-1].append((x, y))
    return [run for run in found if run]
