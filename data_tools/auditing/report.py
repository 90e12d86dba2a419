"""Writes `audit.json` and `audit.html`, one self-contained page with its images inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_tools.auditing.findings import Findings
from data_tools.duplicates.levels import SEARCHED
from data_tools.packs.pack import Counts
from data_tools.preparation import Prepared
from data_tools.reading.images import fit
from data_tools.reading.manifest import MADE, SET_ASIDE, Row
from data_tools.sources.base import SPLITS
from foundation.files import write_json, write_text
from foundation.pages import templates

_SHOWN = 24  # images or groups of each kind
_OF_A_GROUP = 6
_THUMB = 64  # pixels

DESCRIPTIONS = {
    "bytes": "equal files",
    "pixels": "equal decoded pixels",
    "near": "re-encoded, resized, brightened or trimmed by a few pixels",
    "mirrored": "the mirror image",
    "augmented": "rotated, zoomed, shifted, or another crop of one photograph",
}


@dataclass(frozen=True)
class Figure:
    """Images side by side, as a data URI, and their caption."""

    uri: str
    width: int
    caption: str


def write_audit(folder: Path, prepared: Prepared, findings: Findings) -> None:
    """Write both files to `folder`."""
    write_json(folder / "audit.json", findings.numbers)
    write_text(folder / "audit.html", render(prepared, findings))


def render(prepared: Prepared, findings: Findings) -> str:
    """The HTML page."""
    environment = templates(Path(__file__).parent / "templates")
    environment.filters["thousands"] = lambda number: f"{number:,}"
    numbers, images = findings.numbers, prepared.collection.images
    rows = {row.id: row for row in prepared.collection.rows if row.status != MADE}
    return environment.get_template("audit.html.j2").render(
        numbers=numbers,
        descriptions=DESCRIPTIONS,
        leaks=sum(numbers["twins"]["after"].values()) > 0 or bool(numbers["leaky_options"]),
        given=_table(numbers["input"]["counts"]),
        kept=_table(numbers["result"]["kept"]),
        made=_table(numbers["result"]["made"]),
        cells=sorted({cell for table in numbers["overlap"].values() for cell in table}),
        conflicts=[_group(group, rows, images, findings.labels) for group in _spread(findings.conflicts, _SHOWN)],
        conflict_count=len(findings.conflicts),
        blank=[_group([name], rows, images, findings.labels) for name in findings.blank[:_SHOWN]],
        pairs={
            level: {
                "count": len(found := findings.doubtful.get(level, [])),
                "doubtful": [_pair(pair, rows, images, findings.labels) for pair in found[:_SHOWN]],
                "typical": [_pair(pair, rows, images, findings.labels) for pair in _spread(found[_SHOWN:], _SHOWN)],
            }
            for level in SEARCHED
            if level in numbers["levels"]
        },
        unreadable=[row for row in rows.values() if row.status == SET_ASIDE][: 4 * _SHOWN],
    )


def _spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most `number` items, evenly spaced."""
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, min(number, len(items)))]


def _group(
    names: Sequence[str], rows: Mapping[str, Row], images: Mapping[str, np.ndarray], labels: Mapping[str, str]
) -> Figure:
    # One image of each label first, so that the conflict is visible.
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(labels[name], name)
    shown = [*first.values(), *(name for name in names if name not in first.values())][:_OF_A_GROUP]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return _figure(shown, rows, images, labels, more)


def _pair(
    pair: tuple[str, str, float],
    rows: Mapping[str, Row],
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
) -> Figure:
    return _figure(pair[:2], rows, images, labels, f"; agreement {pair[2]:.2f}")


def _figure(
    names: Sequence[str],
    rows: Mapping[str, Row],
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
    more: str,
) -> Figure:
    strip = np.concatenate([fit(_without_grey_axis(images[name]), _THUMB, 3) for name in names], axis=1)
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    caption = " | ".join(
        f"{rows[name].source} {rows[name].original_split or 'no split'}: {labels[name]}" for name in names
    )
    return Figure(uri, strip.shape[1], caption + more)


def _without_grey_axis(image: np.ndarray) -> np.ndarray:
    return image[:, :, 0] if image.shape[2] == 1 else image


def _table(counts: Counts) -> dict[str, Any]:
    """Counts as lines: source, split, a number per class, their sum."""
    classes = sorted({name for by_split in counts.values() for by_class in by_split.values() for name in by_class})
    lines = []
    for source, by_split in counts.items():
        for split in (*SPLITS, ""):
            if split in by_split:
                values = [by_split[split].get(name, 0) for name in classes]
                lines.append((source, split or "no split", values, sum(values)))
    sums = [sum(line[2][place] for line in lines) for place in range(len(classes))]
    return {"classes": [name or "unknown" for name in classes], "lines": lines, "sums": sums, "all": sum(sums)}
