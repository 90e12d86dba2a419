"""Tables that are the splits of one set, by their names: `train.csv` beside `test.csv`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from data_tools.sources.base import SPLITS
from data_tools.sources.split_names import split_in, split_named
from foundation.errors import UserError


def table_split(path: str) -> str:
    """The split that a table is of: by its name (`val.csv`, `pets_test.csv`), else by a folder; '' for none."""
    pure = PurePosixPath(path)
    return split_named(pure.stem) or split_in(pure.stem) or next(filter(None, map(split_named, pure.parts[-2::-1])), "")


def split_tables(paths: Iterable[str], where: str) -> dict[str, str]:
    """Split -> its table, if the tables at `paths` are the splits of a set: two or more of them; else nothing.

    Tables of no split are left out. Raises `UserError`, beginning with `where`, if two are of one split, and if there
    are tables of validation or test beside others of which none is named as that of training.
    """
    found: dict[str, str] = {}
    others = []
    for path in sorted(paths):
        split = table_split(path)
        if not split:
            others.append(path)
        elif split in found:
            raise UserError(
                f"{where} has two tables of the split {split}, {found[split]} and {path}: take one of them away"
            )
        else:
            found[split] = path
    if found and others and "train" not in found:
        (held, *_) = found.values()
        raise UserError(
            f"{where} has {held}, a table of the split {table_split(held)}, beside {others[0]}, whose name is of no "
            "split: rename it to train.csv, or take one of them away"
        )
    return {split: found[split] for split in SPLITS if split in found} if len(found) > 1 else {}
