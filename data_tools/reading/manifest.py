"""The manifest: one row for every input image, kept or not, and one for every copy that the merge adds."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from foundation.csv_cells import cell, original
from foundation.errors import UserError

KEPT = "kept"  # is in the pack
DUPLICATE = "duplicate"  # left out, because `duplicate_of` is kept
TRIMMED = "trimmed"  # its class had more training images than merge.balance.target
DROPPED = "dropped"  # left out of training by the policy: blank, labels in conflict, weight of its source
SET_ASIDE = "set_aside"  # unusable: unreadable, unknown label, refused by its source
MADE = "made"  # a copy of `parent` that the merge added, augmented or repeated


@dataclass(slots=True)
class Row:
    """The data of one image. An empty string means that the column does not apply."""

    id: str  # 'source:path'; an added copy has its parent's with '#copyN', '#againN' or '#repeatN'
    source: str
    path: str  # as in the archive
    original_split: str
    raw_label: str  # as written by the source
    label: str = ""  # class, if the label map knows the raw label
    bytes_sha256: str = ""
    pixels_sha256: str = ""
    perceptual_hash: str = ""  # 64 bits in hexadecimal; duplicates differ in few of them
    group: str = ""  # of duplicates at the level of the policy: the smallest id among them
    status: str = KEPT
    reason: str = ""  # why it is not kept, or kept with another label
    duplicate_of: str = ""  # id of the image that is kept instead
    split: str = ""  # split in the pack
    parent: str = ""  # of an added copy: id of the image that it copies
    pack_row: int | None = None  # position in images.npy
    width: int | None = None  # pixels of the image at its own size; None if it could not be read
    height: int | None = None
    mode: str = ""  # what the file holds and how it was read: 'mode: decision; note; note'
    votes: str = ""  # of a source with soft labels: JSON, class -> fraction of the votes; the label has the most

    @property
    def packed(self) -> bool:
        """Whether the image is in the pack."""
        return self.status in (KEPT, MADE)


COLUMNS = tuple(field.name for field in fields(Row))
_WITHOUT_VOTES = tuple(name for name in COLUMNS if name != "votes")  # as written if no row has any


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as CSV in UTF-8, in the order given."""
    rows = list(rows)
    columns = COLUMNS if any(row.votes for row in rows) else _WITHOUT_VOTES
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: cell(value) for name, value in asdict(row).items()})


def read_manifest(path: Path) -> list[Row]:
    """Read what `write_manifest` wrote. Raises `UserError` if the file is missing or its columns differ."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) not in (COLUMNS, _WITHOUT_VOTES):
                raise UserError(f"{path} has other columns than this version writes; make the pack again")
            return [_row(values) for values in reader]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except UserError:
        raise
    except (ValueError, TypeError, csv.Error) as error:  # a row too short or long, a number that is none, no UTF-8
        raise UserError(f"{path} is damaged ({error}); make the pack again") from error


def _row(values: dict[str, str]) -> Row:
    if not all(isinstance(text, str) for text in values.values()):
        raise ValueError("a row has too few or too many cells")
    numbers = {name: int(text) if (text := values.pop(name)) else None for name in ("pack_row", "width", "height")}
    return Row(**{name: original(text) for name, text in values.items()}, **numbers)  # type: ignore[arg-type]
