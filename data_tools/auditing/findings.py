"""The numbers of the audit, counted from rows and groups: the content of `audit.json`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from data_tools.config import DataConfig, MergeConfig, leaks
from data_tools.duplicates.assign import Grouping
from data_tools.duplicates.levels import BYTES, LEVELS, includes, search_missing
from data_tools.packs.pack import count
from data_tools.packs.tables import without_images
from data_tools.preparation import Prepared
from data_tools.reading.manifest import KEPT, MADE, SET_ASIDE, Row
from data_tools.sources.detected import NO_LABEL

EVALUATED = ("validation", "test")
Cell = tuple[str, str]  # source and original split


@dataclass
class Findings:
    """`numbers` is the content of `audit.json`; the other fields are ids for the images on the page."""

    numbers: dict[str, Any]
    labels: dict[str, str]  # row id -> class as the source gave it
    conflicts: list[list[str]] = field(default_factory=list)  # members of groups with more than one label
    blank: list[str] = field(default_factory=list)
    doubtful: dict[str, list[tuple[str, str, float]]] = field(
        default_factory=dict
    )  # level -> pairs, least certain first


def examine(prepared: Prepared, data: DataConfig, policy: MergeConfig, merged: bool = True) -> Findings:
    """The findings of the audit for a collection after its merge.

    With `merged` the splits of the merge are judged, else those that the data came with.
    """
    rows, grouping = prepared.collection.rows, prepared.grouping
    given = [row for row in rows if row.status != MADE]
    by_id = {row.id: row for row in given}
    levels = [level for level in LEVELS if level in grouping.groups and includes(level, BYTES)]
    members = {level: _members(grouping.groups[level], by_id) for level in levels}
    deepest = grouping.groups[levels[-1]]
    wanted = max(policy.duplicates, data.audit, key=LEVELS.index)
    packed = [row for row in rows if row.packed]
    usable = [row for row in given if row.id in deepest]
    judged, split = (packed, "split") if merged else (usable, "original_split")
    without = without_images(count(judged, split), data.classes) if len(data.classes) > 1 else {}
    numbers: dict[str, Any] = {
        "name": data.name,
        "policy": _policy(policy),
        "merged": merged,
        "labelled": list(data.classes) != [NO_LABEL],
        "leaky_options": leaks(policy),
        "evaluated": {name: sum(getattr(row, split) == name for row in judged) for name in EVALUATED},
        "without_images": without,
        "input": {
            "images": len(given),
            "counts": count(given, "original_split"),
            "set_aside": dict(sorted(Counter(row.reason for row in given if row.status == SET_ASIDE).items())),
            "blank": len(grouping.blank),
            "ignored_files": prepared.ignored,
        },
        "sizes": _sizes(given),
        "modes": _modes(given),
        "levels": {level: _level(members[level], grouping.labels) for level in levels},
        "twins": {
            "level": levels[-1],
            "before": _in_training((row for row in given if row.id in deepest), "original_split", deepest),
            "after": _in_training(packed, "split", deepest),
        },
        "not_looked_for": _not_looked_for(levels[-1], wanted, "data.audit" if merged else "duplicates", grouping.note),
        "note": grouping.note,
        "different_images": _different(grouping, policy),
        "twins_before_by_level": {
            level: _in_training((row for row in given if row.id in deepest), "original_split", grouping.groups[level])
            for level in levels
        },
        "overlap": {level: _overlap(members[level]) for level in levels},
        "loose_pairs": {level: len(pairs) for level, pairs in grouping.loose.items()},
        "result": {
            "statuses": dict(sorted(Counter(row.status for row in rows).items())),
            "kept": count((row for row in rows if row.status == KEPT), "split"),
            "made": count((row for row in rows if row.status == MADE), "split"),
            "relabelled": sum(row.status == KEPT and bool(row.reason) for row in rows),
        },
    }
    leaking, in_validation = _leaking(judged, split, deepest)
    numbers["test_in_validation"] = in_validation
    numbers["checks"] = {
        "leak": leaking,
        "conflict": numbers["levels"][levels[-1]]["conflicting"],
        "duplicate": numbers["levels"][levels[-1]]["redundant"],
        "unreadable": sum(numbers["input"]["set_aside"].values()),
        "blank": len(grouping.blank),
        "missing": sum(map(len, without.values())),
    }
    conflicts = [[row.id for row in group] for group in members[levels[-1]] if _labels(group, grouping.labels) > 1]
    doubtful: dict[str, list[tuple[str, str, float]]] = {level: [] for level in levels}
    for first, second, level, detail in sorted(grouping.confirmed, key=lambda pair: (pair[3], pair[:2])):
        doubtful[level].append((first, second, detail))
    return Findings(numbers, grouping.labels, conflicts, sorted(grouping.blank), doubtful)


def _modes(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What the files of each source hold, and what was decided: number of images of each, most frequent first."""
    found: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if row.mode:
            mode, *notes = row.mode.split("; ")
            holds, _, decision = mode.partition(": ")
            found[row.source, holds, "; ".join(filter(None, (decision, *notes)))] += 1
    return [
        {"source": source, "holds": holds, "decision": decision, "images": number}
        for (source, holds, decision), number in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def _not_looked_for(deepest: str, wanted: str, option: str, note: str) -> dict[str, Any]:
    """The levels above the deepest that was searched, and why; no levels: the search was complete."""
    levels = [level for level in LEVELS if not includes(deepest, level)]
    safe_only = "" if deepest == wanted else note.removeprefix("duplicates: ")
    reason = search_missing() or safe_only or f"{option}={deepest}"
    return {"levels": levels, "reason": reason if levels else ""}


def _different(grouping: Grouping, policy: MergeConfig) -> dict[str, Any] | None:
    """How far different images agree in a sample, and from where on they cannot be told from copies.

    None if it was not measured.
    """
    if (seen := grouping.strangers) is None:
        return None
    return {
        "sample": seen.images,
        "agreement": round(seen.agreement, 4),
        "limit": policy.twins.strangers,
        "little_structure": round(seen.plain, 4),
    }


def _members(groups: Mapping[str, str], by_id: Mapping[str, Row]) -> list[list[Row]]:
    """The groups of two or more images."""
    found: dict[str, list[Row]] = defaultdict(list)
    for name, group in groups.items():
        found[group].append(by_id[name])
    return [group for group in found.values() if len(group) > 1]


def _level(groups: list[list[Row]], given: Mapping[str, str]) -> dict[str, int]:
    images = sum(map(len, groups))
    return {
        "groups": len(groups),
        "images": images,
        "redundant": images - len(groups),
        "conflicting": sum(_labels(group, given) > 1 for group in groups),
        "cross_split": sum(len({row.original_split for row in group}) > 1 for group in groups),
    }


def _labels(group: Iterable[Row], given: Mapping[str, str]) -> int:
    """Number of different labels in a group as the sources gave them; the merge may have changed `row.label`."""
    return len({given[row.id] for row in group})


def _in_training(rows: Iterable[Row], split: str, groups: Mapping[str, str]) -> dict[str, int]:
    """Number of images of each evaluation split whose group has a training image; copies count for their originals."""
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        held[groups[row.parent or row.id]][getattr(row, split) or "train"] += 1
    return {name: sum(splits[name] for splits in held.values() if splits["train"]) for name in EVALUATED}


def _leaking(rows: Iterable[Row], split: str, groups: Mapping[str, str]) -> tuple[int, int]:
    """Number of validation images with a duplicate in training plus that of test images with one in either.

    Also the number of those that have one in validation alone.
    """
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        held[groups[row.parent or row.id]][getattr(row, split) or "train"] += 1
    trained = sum(splits["test"] + splits["validation"] for splits in held.values() if splits["train"])
    selected = sum(splits["test"] for splits in held.values() if splits["validation"] and not splits["train"])
    return trained + selected, selected


def _sizes(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Of each source: the smallest, the middle and the largest image by area, as (width, height), and their number."""
    sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row.width and row.height:
            sizes[row.source].append((row.width, row.height))
    found = []
    for source, own in sorted(sizes.items()):
        own.sort(key=lambda size: (size[0] * size[1], size))
        named = {"smallest": own[0], "middle": own[len(own) // 2], "largest": own[-1]}
        found.append({"source": source, "images": len(own), "different": len(set(own)), **named})
    return found


def _overlap(groups: list[list[Row]]) -> dict[str, dict[str, int]]:
    """Outer cell -> inner cell -> number of images of the outer cell with a duplicate in the inner one."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for group in groups:
        cells = Counter(cell_name(row) for row in group)
        for cell, number in cells.items():
            for other, others in cells.items():
                if cell != other or others > 1:
                    table[cell][other] += number
    return {cell: dict(sorted(table[cell].items())) for cell in sorted(table)}


def cell_name(row: Row) -> str:
    """Source and original split, as the overlap matrix names them."""
    return f"{row.source} {row.original_split or 'no split'}"


def _policy(policy: MergeConfig) -> dict[str, Any]:
    return {
        "duplicates": policy.duplicates,
        "governs": policy.governs,
        "source_priority": policy.source_priority,
        "conflicts": policy.conflicts,
        "prefer": policy.prefer,
        "blank": policy.blank,
        "thin": list(policy.thin),
        "repeats": policy.repeats,
        "balance": policy.balance.method if policy.balance.target or policy.balance.method != "augment_to" else "none",
    }
