"""Why images are not in the pack, counted by kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from data_tools.reading.manifest import DUPLICATE, SET_ASIDE, Row

MOST_KINDS = 4  # that a message names


def kind_of(row: Row) -> str:
    """The reason of a row without names and numbers, so that equal kinds can be counted."""
    if row.status == DUPLICATE:
        return "duplicate under another label" if "labels differ" in row.reason else "duplicate"
    if row.reason.startswith("labels in conflict"):
        return "labels in conflict"
    return re.sub(r"'[^']*'", "'…'", re.sub(r"\d[\d,]*", "N", row.reason))


def by_kind(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows that are not in the pack, by status and kind of reason, the most frequent first."""
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if not row.packed:
            kinds.setdefault((row.status, kind_of(row)), []).append(row)
    return dict(sorted(kinds.items(), key=lambda item: (item[0][0], -len(item[1]))))


def why_left_out(rows: Sequence[Row]) -> str:
    """For messages: how many of the rows are left out and why, with an example of each kind; '' if none is."""
    kinds = sorted(by_kind(rows).items(), key=lambda item: -len(item[1]))
    parts = [
        f"{len(own):,} {'set aside' if status == SET_ASIDE else status} ({own[0].id}: {own[0].reason})"
        for (status, _), own in kinds[:MOST_KINDS]
    ]
    if len(kinds) > MOST_KINDS:
        parts.append(f"{sum(len(own) for _, own in kinds[MOST_KINDS:]):,} for other reasons")
    return "; ".join(parts)
