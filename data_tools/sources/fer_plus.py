"""FER+: ten people's votes on each image of FER-2013 (Barsoum et al. 2016, arXiv:1608.01041), as labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from data_tools.randomness import generator_for
from data_tools.sources.base import Entry, Fingerprint, Source, WrappedSource
from data_tools.sources.containers import file_fingerprint
from data_tools.sources.csv_rows import CsvRows, RowError, csv_text
from data_tools.sources.fer_csv import FerCsv, parse_usage
from foundation.errors import UserError

UNKNOWN, NOT_A_FACE = "unknown", "not a face"
COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", UNKNOWN, "NF")
LABELS = (*COLUMNS[:-1], NOT_A_FACE)
RULES = ("majority", "probability", "threshold")
MOST_VOTES = 1000  # in a field; the table has ten in a row


@dataclass(frozen=True, slots=True)
class Policy:
    """How votes become a label, and what happens to the two labels that are not emotions.

    majority: the label with most votes; a tie is set aside. threshold: the same, if it has at least this fraction of
    all votes. probability: the label is drawn once for every image with the votes as probabilities (the paper draws
    in every epoch). If `unknown` or `not_a_face` is `drop`, images for which it has most votes are set aside, and it
    is never drawn. With `soft` an image is trained with its votes as a distribution, without those for the two labels
    that are not emotions; its label is for scores and splits.
    """

    rule: str = "majority"
    threshold: float = 0.5
    seed: int = 0
    unknown: str = "drop"
    not_a_face: str = "drop"
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Votes:
    """A row of the table of votes: counts in the order of `LABELS`, or the reason why there are none."""

    split: str
    name: str = ""  # in FER+
    counts: tuple[int, ...] = ()
    error: str = ""


class FerPlus(WrappedSource):
    """The images of `source` (FER-2013 as table or as files) with labels from the votes.

    The rows of a table are joined by position. Files are joined by `names`, a CSV `fer_files,ferplus_names`; of an
    image that occurs several times it lists all, separated by semicolons, and each gets the sum of their votes. Raises
    `UserError` for invalid options, a missing file or column, and files without `names`.
    """

    def __init__(self, name: str, source: Source, votes: Path, names: Path | None, policy: Policy) -> None:
        key = f"data.sources.{name}"
        if policy.rule not in RULES:
            raise UserError(f"{key}.rule: must be one of {', '.join(RULES)}, got {policy.rule}")
        if not 0 < policy.threshold <= 1:
            raise UserError(f"{key}.threshold: must be above 0 and at most 1, got {policy.threshold}")
        for option, rule in (("threshold", "threshold"), ("seed", "probability")):
            if policy.rule != rule and getattr(policy, option) != getattr(Policy(), option):
                raise UserError(f"{key}.{option} is not used with {key}.rule={policy.rule}, only with rule={rule}")
        for option in ("unknown", "not_a_face"):
            if getattr(policy, option) not in ("drop", "keep"):
                raise UserError(f"{key}.{option}: must be drop or keep, got {getattr(policy, option)}")
        if names is None and not isinstance(source, FerCsv):
            raise UserError(
                f"{key}.names: FER+ numbers the rows of fer2013.csv, and your files need a CSV fer_files,ferplus_names "
                f"with their rows; use fer2013.csv, or put such a CSV beside {votes.name}"
            )
        super().__init__(name, source)
        self._votes, self._names, self._policy = votes, names, policy

    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the images, the votes and the names."""
        found = dict(super().fingerprint())
        for kind, path in (("votes", self._votes), ("names", self._names)):
            if path is not None:
                found |= {f"{kind}_{key}": value for key, value in file_fingerprint(path).items()}
        return found

    def entries(self) -> Iterator[Entry]:
        """Stream the images. An image for which the votes give no label is refused."""
        find = self._by_row() if isinstance(self._source, FerCsv) else self._by_file()
        for entry in self._source.entries():
            if entry.error:
                yield replace(entry, label="")
                continue
            try:
                votes = find(entry)
                if votes.error:
                    raise RowError(votes.error)
                if votes.split != entry.original_split:
                    raise RowError(f"{self._votes.name} has it in {votes.split}, and the images in another split")
                label = label_of(votes.counts, self._policy, votes.name)
                soft = zip(LABELS[:-2], map(float, votes.counts), strict=False) if self._policy.soft else ()
                yield replace(entry, label=label, votes=tuple(soft))
            except RowError as error:
                yield replace(entry, label="", data=None, pixels=None, error=str(error))

    def _by_row(self) -> Callable[[Entry], Votes]:
        rows = [votes for _, votes in read_votes(self._votes)]

        def find(entry: Entry) -> Votes:
            number = int(entry.path.rpartition(":")[2])
            if number > len(rows):
                raise RowError(f"{self._votes.name} has no row {number}")
            return rows[number - 1]

        return find

    def _by_file(self) -> Callable[[Entry], Votes]:
        assert self._names is not None
        by_file, table = votes_by_file(self._votes, self._names), self._names.name

        def find(entry: Entry) -> Votes:
            rows = by_file.get(_tail(entry.path))
            if rows is None:
                raise RowError(f"{table} does not name it")
            return pooled(rows)

        return find


def label_of(counts: Sequence[int], policy: Policy, key: str) -> str:
    """The label that `counts`, in the order of `LABELS`, give under `policy`. A draw depends on `key` and the seed.

    Raises `RowError` with the reason if they give none.
    """
    total, most = sum(counts), max(counts)
    if not total:
        raise RowError("no votes")
    leading = [label for label, count in zip(LABELS, counts, strict=True) if count == most]
    dropped = {label for label, fate in ((UNKNOWN, policy.unknown), (NOT_A_FACE, policy.not_a_face)) if fate == "drop"}
    if dropped.issuperset(leading):
        raise RowError(f"most votes are for '{leading[0]}' ({most} of {total})")
    if policy.rule == "probability":
        weights = np.array([0 if label in dropped else count for label, count in zip(LABELS, counts, strict=True)])
        return LABELS[generator_for(policy.seed, "FER+", key).choice(len(LABELS), p=weights / weights.sum())]
    if len(leading) > 1:
        raise RowError(f"the votes are tied ('{', '.join(leading)}', {most} of {total} each)")
    if policy.rule == "threshold" and most < policy.threshold * total:
        raise RowError(f"no label has {policy.threshold:.0%} of the votes ('{leading[0]}', {most} of {total})")
    return leading[0]


def pooled(votes: Sequence[Votes]) -> Votes:
    """The sum of the votes on several rows of one image. Raises `RowError` if there are none."""
    if not votes:
        raise RowError("its row is not in the votes")
    for one in votes:
        if one.error:
            return one
    counts = tuple(map(sum, zip(*(one.counts for one in votes), strict=True)))
    return Votes(votes[0].split, ";".join(sorted(one.name for one in votes)), counts)


def votes_by_file(votes: Path, names: Path) -> dict[str, list[Votes]]:
    """The rows of each file that `names` has, by the class folder and name of the file. Raises as `read_names`."""
    by_name: dict[str, list[Votes]] = {}
    for name, row in read_votes(votes):
        by_name.setdefault(name, []).append(row)
    return {file: [row for name in its for row in by_name.get(name, [])] for file, its in read_names(names).items()}


def read_votes(path: Path) -> Iterator[tuple[str, Votes]]:
    """Image name ('' if FER+ gives none) and votes of every row of `fer2013new.csv`, in its order."""
    with path.open("rb") as stream, csv_text(stream) as text:
        for number, fields in CsvRows(text, str(path), ("Usage", "Image name", *COLUMNS)):
            try:
                if isinstance(fields, RowError):
                    raise fields
                counts = tuple(parse_count(fields[column], column) for column in COLUMNS)
                name = fields["Image name"]
                yield name, Votes(parse_usage(fields["Usage"]), name, counts)
            except RowError as error:
                name = fields["Image name"] if isinstance(fields, Mapping) else ""
                yield name, Votes("", name, error=f"row {number} of {path.name}: {error}")


def read_names(path: Path) -> dict[str, list[str]]:
    """The names in FER+ of each file, by the class folder and name of the file.

    Raises `UserError` for a bad row.
    """
    by_file: dict[str, list[str]] = {}
    with path.open("rb") as stream, csv_text(stream) as text:
        for number, fields in CsvRows(text, str(path), ("fer_files", "ferplus_names")):
            if isinstance(fields, RowError):
                raise UserError(f"{path}: row {number}: {fields}")
            for file in fields["fer_files"].split(";"):
                name = _tail(file.strip())
                if name in by_file:
                    raise UserError(f"{path}: row {number}: {name} has had a row before")
                by_file[name] = [one.strip() for one in fields["ferplus_names"].split(";") if one.strip()]
    return by_file


def parse_count(text: str, column: str) -> int:
    """Number of votes. Raises `RowError`."""
    if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= MOST_VOTES):
        raise RowError(f"{column} is '{text[:20]}', not a number of votes")
    return int(text)


def _tail(path: str) -> str:
    return "/".join(PurePosixPath(path).parts[-2:])
