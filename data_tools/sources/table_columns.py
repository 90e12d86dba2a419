"""What the columns of a table of images mean, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_NAMES = {
    "path": (
        *("path", "filepath", "imagepath", "imgpath", "relativepath", "file", "filename", "imagefile", "imagefilename"),
        *("image", "images", "imagename", "img", "imgname", "imageid", "imgid", "picture", "photo", "name", "id"),
    ),
    "label": (
        *("label", "labels", "class", "classname", "classlabel", "labelname", "category", "categoryname", "target"),
        *("emotion", "expression", "species", "breed", "diagnosis", "dx", "type", "tag", "y", "classid", "labelid"),
    ),
    "split": ("split", "usage", "subset", "partition", "set", "fold", "dataset", "phase"),
}


def plain(name: str) -> str:
    """A column's name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def guess_columns(header: Sequence[str]) -> dict[str, str] | None:
    """Our names of columns -> the header's; None if it has no column of paths or none of labels.

    Of several names the one that says it best is chosen, in the order of the lists above.
    """
    by_plain = {plain(name): name.strip() for name in reversed(header)}
    found = {}
    for column, names in _NAMES.items():
        name = next((by_plain[each] for each in names if each in by_plain), None)
        if name is not None:
            found[column] = name
    return found if {"path", "label"} <= set(found) else None


def has_pixels(header: Sequence[str]) -> bool:
    """Whether it is the header of the FER table: `emotion`, `pixels`."""
    return {"emotion", "pixels"} <= set(map(plain, header))


def different(columns: Mapping[str, str]) -> dict[str, str]:
    """The columns whose name differs from ours, for the option `columns`."""
    return {column: name for column, name in columns.items() if name.strip().casefold() != column}
