"""The tables that the commands print: counts per source, split and class, and reasons for images left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_tools.packs.pack import Counts
from data_tools.reading.manifest import DROPPED, DUPLICATE, KEPT, MADE, SET_ASIDE, TRIMMED, Row
from data_tools.reading.reasons import by_kind
from data_tools.sources.base import SPLITS
from foundation.screen import Screen

STATUSES = (KEPT, DUPLICATE, DROPPED, TRIMMED, SET_ASIDE, MADE)
_WIDTH_OF_A_FILE = 132  # columns if the output is not a terminal, so that lines are not wrapped


def console() -> Console:
    """The console of the standard output, with a fixed width if that is a file or a pipe."""
    own = Screen()
    return own if own.is_terminal else Screen(width=_WIDTH_OF_A_FILE)


def count_table(title: str, counts: Counts, classes: Sequence[str]) -> Table:
    """A row per source and split, a column per class, with sums; a column for unknown classes if there are any."""
    columns = [*classes]
    if any("" in by_class for by_split in counts.values() for by_class in by_split.values()):
        columns.append("")
    table = Table(title=title, title_justify="left")
    table.add_column("source")
    table.add_column("split")
    for name in (*columns, "all"):
        table.add_column(escape(name) or "unknown", justify="right")
    lines = [(source, split) for source in counts for split in (*SPLITS, "") if split in counts[source]]
    for source, split in lines:
        numbers = [counts[source][split].get(name, 0) for name in columns]
        table.add_row(escape(source), split or "none", *(f"{n:,}" for n in (*numbers, sum(numbers))))
    sums = [sum(counts[source][split].get(name, 0) for source, split in lines) for name in columns]
    table.add_section()
    table.add_row("all", "", *(f"{n:,}" for n in (*sums, sum(sums))))
    return table


def reason_table(rows: Iterable[Row]) -> Table | None:
    """Why images are not in the pack: number and first example of each kind of reason. None if all are in it."""
    kinds = by_kind(rows)
    if not kinds:
        return None
    table = Table("status", "reason", title="Not in the pack", title_justify="left")
    table.add_column("images", justify="right")
    table.add_column("first example")
    for (status, kind), members in kinds.items():
        example = members[0].id if status != SET_ASIDE else f"{members[0].id}: {members[0].reason}"
        table.add_row(status, escape(kind), f"{len(members):,}", escape(example))
    return table


def show(out: Console, rows: list[Row], description: dict[str, Any], ignored: dict[str, int], folder: Path) -> None:
    """Print the tables of a new pack, the number of files that each source ignored, and the folder of the pack."""
    classes, counts = description["classes"], description["counts"]
    out.print(count_table("Input images", counts["input"], classes))
    out.print(count_table("Kept", counts["kept"], classes))
    if counts["made"]:
        out.print(count_table("Added copies", counts["made"], classes))
    if (reasons := reason_table(rows)) is not None:
        out.print(reasons)
    for split, missing in without_images(counts["kept"], classes).items():
        line = f"the {split} split has no image of {', '.join(missing)}: its scores say nothing about that"
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    statuses = ", ".join(f"{name} {description['statuses'].get(name, 0):,}" for name in STATUSES)
    out.print(f"{sum(row.status != MADE for row in rows):,} input images; {statuses}", highlight=False)
    for name, number in ignored.items():
        if number:
            out.print(f"{name}: {number:,} files ignored that are not images", highlight=False, markup=False)
    out.print(f"pack {folder} ({description['images']:,} images)", highlight=False, markup=False, soft_wrap=True)


def without_images(counts: Counts, classes: Sequence[str]) -> dict[str, list[str]]:
    """The classes without an image in each split that has images, for the splits that lack any."""
    found = {}
    for split in SPLITS:
        present = {name for by_split in counts.values() for name, number in by_split.get(split, {}).items() if number}
        missing = [name for name in classes if name not in present]
        if present and missing:
            found[split] = missing
    return found


def show_levels(out: Console, levels: dict[str, dict[str, int]]) -> None:
    """Print the numbers of duplicates in the input at each level."""
    table = Table("level", title="Duplicates in the input", title_justify="left")
    for name in ("groups", "images", "redundant", "conflicting", "cross_split"):
        table.add_column(name.replace("_", " "), justify="right")
    for level, numbers in levels.items():
        table.add_row(level, *(f"{number:,}" for number in numbers.values()))
    out.print(table)


def show_not_looked_for(out: Console, found: dict[str, Any]) -> None:
    """Print the levels of duplicates that were not searched, and why: `not_looked_for` of the audit."""
    if found["levels"]:
        line = f"not looked for: duplicates that are {', '.join(found['levels'])} ({found['reason']})"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def show_others(out: Console, packs: Sequence[str], made: str) -> None:
    """Tell how many other packs of the same name and options there are: each state of the sources leaves one."""
    same = made.rpartition("-")[0]
    if others := [name for name in packs if name != made and name.startswith(same)]:
        line = f"older packs of other sources: {', '.join(others)}; python -m data_tools.packs lists and removes them"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def show_leaks(out: Console, in_training: dict[str, dict[str, int]], leaks: Sequence[str]) -> None:
    """Print how many validation and test images have a duplicate in training; in red if the merge leaves any."""
    before, after = (
        ", ".join(f"{split} {number:,}" for split, number in in_training[when].items()) for when in ("before", "after")
    )
    out.print(f"images with a duplicate in training: before the merge {before}; after it {after}", highlight=False)
    if any(in_training["after"].values()):
        out.print("This merge LEAKS: evaluation images have duplicates in training.", style="bold red")
    for reason in leaks:
        out.print(f"This option leaks: {reason}", style="bold red", markup=False)
