"""Which images are the same picture. Every level gives each image a group; exact levels do it by a hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from data_tools.manifest import Row

# Level -> the key that two images must share to be one picture. Identical bytes decode to identical pixels, so
# each level includes those before it.
LEVELS: dict[str, Callable[[Row], str]] = {
    "none": lambda row: row.id,
    "bytes": lambda row: row.bytes_sha256,
    "pixels": lambda row: row.pixels_sha256,
}


def assign_groups(rows: Iterable[Row], level: str) -> dict[str, list[Row]]:
    """Set `group` of every row to the smallest id among its duplicates; return the groups, members sorted by id."""
    key = LEVELS[level]
    members: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        members.setdefault(key(row), []).append(row)
    groups = {same[0].id: same for same in members.values()}
    for name, same in groups.items():
        for row in same:
            row.group = name
    return groups
