"""The leaderboard as a page: one HTML file that sorts itself, links the runs and loads nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from cnn.reporting.leaderboard_table import mean_of, short, validation
from cnn.reporting.sweeps import Entry, overridden_keys, varying_keys
from foundation.files import write_text
from foundation.inlined import policy_hash
from foundation.pages import templates
from foundation.progress import duration

PAGE = "leaderboard.html"
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(entries: Sequence[Entry], sweep_dir: Path) -> None:
    """Write `leaderboard.html` into the folder of the sweep."""
    write_text(sweep_dir / PAGE, render_page(entries, sweep_dir))


def render_page(entries: Sequence[Entry], sweep_dir: Path) -> str:
    """The page as text. `entries` are the configurations, best first."""
    keys = varying_keys(entries)
    headings = _headings(keys)
    script = (_TEMPLATES / "leaderboard.js").read_text(encoding="utf-8")
    return (
        templates(_TEMPLATES)
        .get_template("leaderboard.html.j2")
        .render(
            name=sweep_dir.resolve().name,
            headings=headings,
            common=[(key, _common(entries, key)) for key in overridden_keys(entries) if key not in keys],
            rows=[_row(rank, entry, headings, sweep_dir) for rank, entry in enumerate(entries, start=1)],
            jobs=sum(len(entry.runs) + entry.failed + len(entry.pruned) for entry in entries),
            finished=sum(len(entry.runs) for entry in entries),
            pruned=sum(len(entry.pruned) for entry in entries),
            failed=sum(entry.failed for entry in entries),
            seeds=max((len(entry.runs) for entry in entries), default=0),
            plot="leaderboard.png" if (sweep_dir / "leaderboard.png").is_file() else None,
            script=Markup(script),
            script_hash=policy_hash(script),  # the only script that may run
        )
    )


def _row(rank: int, entry: Entry, headings: Mapping[str, str], sweep_dir: Path) -> dict[str, Any]:
    """The cells of a configuration: text to read, and a number to sort by (None sorts last)."""
    seconds, parameters, speed = (entry.mean(key) for key in ("seconds", "parameters", "images_per_second"))
    accuracy, deviation = entry.mean("val_accuracy"), entry.deviation("val_accuracy")
    return {
        "rank": rank,
        "model": entry.model,
        "values": [
            (heading, short(entry.overrides.get(key, "")), entry.overrides.get(key, ""))
            for key, heading in headings.items()
        ],
        "validation": (validation(entry), accuracy),
        "bar": _bar(accuracy, deviation),
        "seeds": len(entry.runs),
        "runs": [
            {"seed": seed, "link": _link(folder, sweep_dir), "accuracy": entry.runs[seed].get("val_accuracy")}
            for seed, folder in sorted(entry.folders.items(), key=lambda item: (len(item[0]), item[0]))
        ],
        "failed": entry.failed,
        "parameters": ("" if parameters is None else f"{parameters:,.0f}", parameters),
        "time": ("" if seconds is None else duration(seconds), seconds),
        "speed": ("" if speed is None else f"{speed:,.0f}", speed),
        "test": (mean_of(entry, "test_accuracy"), entry.mean("test_accuracy")),
        "macro_f1": (mean_of(entry, "macro_f1"), entry.mean("macro_f1")),
    }


def _headings(keys: Sequence[str]) -> dict[str, str]:
    """Of each key its last part, or the whole key where another one ends the same."""
    last = {key: key.rpartition(".")[2] for key in keys}
    ends = Counter(last.values())
    return {key: end if ends[end] == 1 else key for key, end in last.items()}


def _common(entries: Sequence[Entry], key: str) -> str:
    return next(entry.overrides[key] for entry in entries if key in entry.overrides)


def _bar(mean: float | None, deviation: float | None) -> dict[str, str] | None:
    """Widths in CSS: of the bar, and place and width of its deviation."""
    if mean is None:
        return None
    low, high = (min(max(mean + sign * (deviation or 0.0), 0.0), 1.0) for sign in (-1, 1))
    return {
        "width": f"{100 * min(max(mean, 0.0), 1.0):.2f}%",
        "left": f"{100 * low:.2f}%",
        "spread": f"{100 * (high - low):.2f}%",
    }


def _link(folder: Path, sweep_dir: Path) -> str:
    """The run's report relative to the page, or its folder if it has none."""
    target = folder / "report.html" if (folder / "report.html").is_file() else folder
    # With './', so that a folder called 'javascript:...' stays a path.
    return "./" + quote(Path(os.path.relpath(target, sweep_dir)).as_posix())
