"""The names of the levels. Each includes the ones before it."""

from __future__ import annotations

NONE = "none"  # every image stands for itself
BYTES = "bytes"  # equal files
PIXELS = "pixels"  # equal decoded pixels
NEAR = "near"  # re-encoded, resized, brightened, trimmed by a few pixels
MIRRORED = "mirrored"  # the same seen in a mirror
AUGMENTED = "augmented"  # turned, zoomed, moved: what augmentation writes to disk, and another crop of one photograph

LEVELS = (NONE, BYTES, PIXELS, NEAR, MIRRORED, AUGMENTED)
SEARCHED = (NEAR, MIRRORED, AUGMENTED)  # no hash finds these


def includes(level: str, other: str) -> bool:
    """Whether `level` counts as duplicates what `other` does."""
    return LEVELS.index(level) >= LEVELS.index(other)
