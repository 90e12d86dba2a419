"""Writes `audit.json` and `audit.html`, one self-contained page with its images inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_tools.auditing.checks import checks, verdict
from data_tools.auditing.findings import EVALUATED, Findings
from data_tools.duplicates.levels import SEARCHED
from data_tools.packs.pack import Counts
from data_tools.preparation import Prepared
from data_tools.reading.images import fit
from data_tools.reading.manifest import MADE, SET_ASIDE, Row
from data_tools.sources.base import SPLITS
from foundation.files import write_json, write_text
from foundation.inlined import png_uri
from foundation.pages import templates

_SHOWN = 24  # images or groups of each kind
_OF_A_GROUP = 6
_HEIGHT = 64  # pixels of an image on the page
_WIDEST = 2.5  # times its height, and as much narrower
_GAP = 3
_MANY_CLASSES = 20  # rows of a table that are shown at once

DESCRIPTIONS = {
    "bytes": "equal files",
    "pixels": "equal pixels, in whatever file",
    "near": "encoded again, resized, brightened or trimmed by a few pixels",
    "mirrored": "the mirror image",
    "augmented": "rotated, zoomed, shifted, or cropped otherwise",
}


@dataclass(frozen=True)
class Figure:
    """Images side by side, as a data URI, what is seen in words, and their caption."""

    uri: str
    width: int
    alt: str
    caption: str


@dataclass(frozen=True)
class _Shown:
    """What figures are made from."""

    rows: Mapping[str, Row]
    images: Mapping[str, np.ndarray]
    labels: Mapping[str, str]
    labelled: bool
    sources: bool  # whether to name them: there are several

    def place(self, name: str) -> str:
        """Where an image is from, in words: 'pets, test: cat'."""
        row = self.rows[name]
        where = ", ".join(filter(None, (row.source if self.sources else "", row.original_split)))
        label = self.labels[name] if self.labelled else ""
        return ": ".join(filter(None, (where, label))) or Path(row.path).name


def write_audit(folder: Path, prepared: Prepared, findings: Findings) -> None:
    """Write both files to `folder`."""
    write_json(folder / "audit.json", findings.numbers)
    write_text(folder / "audit.html", render(prepared, findings))


def render(prepared: Prepared, findings: Findings) -> str:
    """The HTML page."""
    environment = templates(Path(__file__).parent / "templates")
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["words"] = _words
    environment.filters["sentence"] = _sentence
    numbers, images = findings.numbers, prepared.collection.images
    rows = {row.id: row for row in prepared.collection.rows if row.status != MADE}
    shown = _Shown(rows, images, findings.labels, numbers["labelled"], len({row.source for row in rows.values()}) > 1)
    found = checks(numbers)
    return environment.get_template("audit.html.j2").render(
        numbers=numbers,
        verdict=verdict(numbers),
        bad=bool(numbers["checks"]["leak"] or numbers["leaky_options"]),
        checks=[check for check in found if check.count],
        clean=[check for check in found if not check.count],
        descriptions=DESCRIPTIONS,
        two_backgrounds=all(
            any(mode["decision"].startswith(background) for mode in numbers["modes"])
            for background in ("on white", "on black")
        ),
        splits=[
            split for split in EVALUATED if any(split in by_split for by_split in numbers["input"]["counts"].values())
        ],
        many=_MANY_CLASSES,
        given=_table(numbers["input"]["counts"]),
        kept=_table(numbers["result"]["kept"]),
        made=_table(numbers["result"]["made"]),
        overlap={level: _overlaps(table, shown.sources) for level, table in numbers["overlap"].items()},
        conflicts=[_group(group, shown, "with different labels") for group in _spread(findings.conflicts, _SHOWN)],
        conflict_count=len(findings.conflicts),
        blank=[_group([name], shown, "blank") for name in findings.blank[:_SHOWN]],
        pairs={
            level: {
                "count": len(pairs := findings.doubtful.get(level, [])),
                "doubtful": [_pair(pair, shown, level) for pair in pairs[:_SHOWN]],
                "typical": [_pair(pair, shown, level) for pair in _spread(pairs[_SHOWN:], _SHOWN)],
            }
            for level in SEARCHED
            if level in numbers["levels"]
        },
        unreadable=[row for row in rows.values() if row.status == SET_ASIDE][: 4 * _SHOWN],
    )


def _spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most `number` items, evenly spaced."""
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, min(number, len(items)))]


def _words(value: Any) -> str:
    """A value of the config or of `audit.json` for people."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value).replace("_", " ")


def _sentence(note: str) -> str:
    """A note of the search as a sentence of the page."""
    text = note.removeprefix("duplicates: ")
    return f"{text[:1].upper()}{text[1:]}."


def _group(names: Sequence[str], shown: _Shown, kind: str) -> Figure:
    # One image of each label first, so that the conflict is visible.
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(shown.labels[name], name)
    chosen = [*first.values(), *(name for name in names if name not in first.values())][:_OF_A_GROUP]
    more = f" and {len(names) - len(chosen)} more" if len(names) > len(chosen) else ""
    count = f"{len(chosen)} images that are duplicates" if len(chosen) > 1 else "One image"
    return _figure(chosen, shown, f"{count}, {kind}", more)


def _pair(pair: tuple[str, str, float], shown: _Shown, level: str) -> Figure:
    return _figure(pair[:2], shown, f"Two images that agree as {level}", f"; agreement {pair[2]:.2f}")


def _figure(names: Sequence[str], shown: _Shown, what: str, more: str) -> Figure:
    parts: list[np.ndarray] = []
    for name in names:
        if parts:
            parts.append(np.full((_HEIGHT, _GAP, 3), 255, np.uint8))
        parts.append(_thumbnail(shown.images[name], shown.rows[name]))
    strip = np.concatenate(parts, axis=1)
    places = [shown.place(name) for name in names]
    uri = png_uri(Image.fromarray(strip))
    return Figure(uri, strip.shape[1], f"{what}: {'; '.join(places)}", " | ".join(places) + more)


def _thumbnail(image: np.ndarray, row: Row) -> np.ndarray:
    """The image in RGB at the height of the page, with the proportions that it has in its file."""
    proportion = row.width / row.height if row.width and row.height else 1.0
    width = round(_HEIGHT * min(max(proportion, 1 / _WIDEST), _WIDEST))
    return fit(image[:, :, 0] if image.shape[2] == 1 else image, (_HEIGHT, width), 3)


def _table(counts: Counts) -> dict[str, Any]:
    """Counts with a row for each class and a column for each source and split, and sums."""
    classes = sorted({name for by_split in counts.values() for by_class in by_split.values() for name in by_class})
    columns = [(source, split) for source in counts for split in (*SPLITS, "") if split in counts[source]]
    rows = []
    for name in classes:
        values = [counts[source][split].get(name, 0) for source, split in columns]
        rows.append((name or "unknown", values, sum(values)))
    sums = [sum(values[place] for _, values, _ in rows) for place in range(len(columns))]
    several = len(counts) > 1
    names = [f"{source} {split or 'no split'}" if several else split or "images" for source, split in columns]
    return {"columns": names, "rows": rows, "sums": sums, "all": sum(sums)}


def _overlaps(table: Mapping[str, Mapping[str, int]], sources: bool) -> list[tuple[str, str, int]]:
    """Cell, other cell, and the number of images of the first with a duplicate in the second; most first.

    Without `sources` the name of the only one is left out of the cells.
    """
    found = [
        (cell, other, number) if sources else (cell.partition(" ")[2], other.partition(" ")[2], number)
        for cell, others in table.items()
        for other, number in others.items()
    ]
    return sorted(found, key=lambda line: (-line[2], line[:2]))
