"""The names of the duplicate levels. Each level includes the ones before it."""

from __future__ import annotations

NONE = "none"  # every image is a group of its own
BYTES = "bytes"  # equal files
PIXELS = "pixels"  # equal decoded pixels
NEAR = "near"  # re-encoded, resized, brightened, trimmed by a few pixels
MIRRORED = "mirrored"  # the mirror image
AUGMENTED = "augmented"  # rotated, zoomed, shifted: augmented copies, and other crops of one photograph

LEVELS = (NONE, BYTES, PIXELS, NEAR, MIRRORED, AUGMENTED)
SEARCHED = (NEAR, MIRRORED, AUGMENTED)  # found by the search, not by a hash


def includes(level: str, other: str) -> bool:
    """Whether duplicates at level `other` are duplicates at `level` too."""
    return LEVELS.index(level) >= LEVELS.index(other)
