"""The names of the duplicate levels. Each level includes the ones before it."""

from __future__ import annotations

from importlib.util import find_spec

from foundation.extras import install_command

NONE = "none"  # every image is a group of its own
BYTES = "bytes"  # equal files
PIXELS = "pixels"  # equal decoded pixels
NEAR = "near"  # re-encoded, resized, brightened, trimmed by a few pixels
MIRRORED = "mirrored"  # the mirror image
AUGMENTED = "augmented"  # rotated, zoomed, shifted: augmented copies, and other crops of one photograph

AUTO = "auto"  # of the options: all levels if the search is installed, else up to the equal pixels
LEVELS = (NONE, BYTES, PIXELS, NEAR, MIRRORED, AUGMENTED)
SEARCHED = (NEAR, MIRRORED, AUGMENTED)  # found by the search, not by a hash


def includes(level: str, other: str) -> bool:
    """Whether duplicates at level `other` are duplicates at `level` too."""
    return LEVELS.index(level) >= LEVELS.index(other)


def search_missing() -> str | None:
    """What to install for the levels that are searched: the extra `audit`; None if it is there."""
    if all(find_spec(module) for module in ("cv2", "faiss")):
        return None
    return f"OpenCV and FAISS are not installed: {install_command('audit')}"
