"""The HTML report of a run: one self-contained file, for wide and narrow screens, light and dark mode."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn.reporting.plots import best_row
from foundation.files import write_text
from foundation.pages import templates

_LEADING = 2  # figures above the tables


def write_report(path: Path, *arguments: Any, **options: Any) -> None:
    """Write the report to `path`; the arguments are those of `render_report`."""
    write_text(path, render_report(*arguments, **options))


def render_report(
    title: str,
    scores: Mapping[str, Any],
    summary_table: Sequence[Mapping[str, Any]] = (),
    history: Sequence[Mapping[str, Any]] = (),
    figures: Mapping[str, Path] | None = None,
    classification_report: str = "",
    configuration_yaml: str = "",
    provenance: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    *,
    split: str = "test",
    baselines: Mapping[str, float] | None = None,
    best_epoch: int | None = None,
) -> str:
    """The report as the text of an HTML file.

    Args:
        title: the heading.
        scores: `Scores.as_dict()` of the split named by `split`.
        summary_table: rows with `layer`, `output_shape`, `parameters`, `mflops`.
        history: the rows of `metrics.csv`.
        figures: caption -> PNG file; the first two are shown at the top (curves, confusion matrix), the others after
            the table of classes. A missing file is left out.
        classification_report: scikit-learn's report as text.
        configuration_yaml: the composed configuration.
        provenance: the result of `collect_provenance`, and other entries; may be nested.
        notes: sentences for the reader, shown under the headline.
        split: the split that was scored.
        baselines: name -> accuracy of a simple classifier on the same split.
        best_epoch: the epoch whose weights were scored; None: that of the highest validation accuracy.
    """
    shown = list((figures or {}).items())
    environment = templates(Path(__file__).parent / "templates")
    environment.filters["percent"] = lambda fraction: f"{100 * fraction:.1f} %"
    environment.filters["width"] = lambda fraction: f"{100 * min(max(float(fraction), 0.0), 1.0):.1f}%"  # in CSS
    return environment.get_template("report.html.j2").render(
        title=title,
        split=split,
        scores=scores,
        bars=_bars(scores, baselines or {}),
        classes=_class_rows(scores),
        best=best_row(history, best_epoch),
        epochs=len(history),
        duration=_duration(history),
        leading=_embed(shown[:_LEADING]),
        following=_embed(shown[_LEADING:]),
        summary_table=summary_table,
        shape=_shape,
        parameters=sum(row["parameters"] for row in summary_table),
        mflops=sum(row["mflops"] for row in summary_table),
        classification_report=classification_report,
        configuration_yaml=configuration_yaml,
        provenance=list(_flatten(provenance or {})),
        notes=notes,
    )


def _bars(scores: Mapping[str, Any], baselines: Mapping[str, float]) -> list[dict[str, Any]]:
    """The network and the baselines, best first."""
    bars = [{"name": name, "accuracy": accuracy, "own": False} for name, accuracy in baselines.items()]
    bars.append({"name": "this network", "accuracy": scores["accuracy"], "own": True})
    return sorted(bars, key=lambda bar: -bar["accuracy"])


def _class_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores of each class, and the wrong class most often predicted for its images."""
    rows = []
    names = list(scores["per_class"])
    for number, (name, row) in enumerate(scores["per_class"].items()):
        mistaken = {
            other: count
            for column, (other, count) in enumerate(zip(names, scores["confusion"][number], strict=True))
            if column != number and count
        }
        taken_for = max(mistaken, key=lambda other: mistaken[other], default=None)
        rows.append({"name": name, **row, "taken_for": taken_for, "times": mistaken.get(taken_for or "", 0)})
    return rows


def _embed(figures: Sequence[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Caption, size and base64 content of the PNG files that exist."""
    embedded = []
    for caption, path in figures:
        if path.is_file():
            content = path.read_bytes()
            width, height = struct.unpack(">II", content[16:24])  # the first chunk of every PNG
            coded = base64.b64encode(content).decode("ascii")
            embedded.append({"caption": caption, "width": width, "height": height, "base64": coded})
    return embedded


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested provenance as lines `machine · cores`, value."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{name} · ")
        elif isinstance(item, list | tuple):
            yield name, ", ".join(map(str, item))
        else:
            yield name, _as_text(item)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _shape(shape: Any) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, shape)) if isinstance(shape, list | tuple) else str(shape)


def _duration(history: Sequence[Mapping[str, Any]]) -> str:
    """The time of all epochs as text, empty if it was not measured."""
    seconds = sum(row.get("seconds") or 0.0 for row in history)
    if seconds <= 0:
        return ""
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60:.0f} s" if minutes else f"{seconds:.0f} s"
