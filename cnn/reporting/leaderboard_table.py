"""The leaderboard on the command line. Without test scores: a configuration is chosen by its validation score."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnn.reporting.sweeps import Entry, varying_keys
from foundation.progress import duration

_SHOWN = 20  # configurations


def print_leaderboard(entries: Sequence[Entry]) -> None:
    """Print the best configurations: validation score, number of seeds, parameters, time."""
    keys = varying_keys(entries)
    table = Table(box=None, pad_edge=False)
    for heading in ("model", *keys):
        table.add_column(Text(heading), overflow="fold")
    for heading in ("validation", "seeds", "parameters", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries[:_SHOWN]:
        parameters, seconds = entry.mean("parameters"), entry.mean("seconds")
        cells = [entry.model, *(short(entry.overrides.get(key, "")) for key in keys), validation(entry), _count(entry)]
        cells.append("" if parameters is None else f"{parameters:,.0f}")
        cells.append("" if seconds is None else duration(seconds))
        table.add_row(*map(Text, cells))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
    if len(entries) > _SHOWN:
        print(f"and {len(entries) - _SHOWN} more")


def validation(entry: Entry) -> str:
    """Mean and deviation of the validation accuracy, or why there is none."""
    if text := mean_of(entry, "val_accuracy"):
        return text
    if entry.pruned:
        return f"stopped after epoch {entry.pruned[0].get('epoch')}"
    return "failed" if entry.failed else "no score"


def mean_of(entry: Entry, key: str) -> str:
    """Mean and deviation of a score over the seeds; empty without a score."""
    mean, deviation = entry.mean(key), entry.deviation(key)
    if mean is None:
        return ""
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} ± {deviation:.4f}"


def short(value: str) -> str:
    """A number of many digits with four of them; other text as it is."""
    try:
        return value if len(value) <= 8 else f"{float(value):.4g}"
    except ValueError:
        return value


def _count(entry: Entry) -> str:
    failed = f"{entry.failed} failed" if entry.failed else ""
    return ", ".join(filter(None, [str(len(entry.runs)) if entry.runs else "", failed]))
