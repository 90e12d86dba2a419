"""`python -m benchmarks.annotators --votes VOTES --names NAMES`: how far people agree with FER-2013's labels.

For each split: on how many images the label of FER-2013 is the emotion with most of FER+'s ten votes (of several such
emotions each counts by its share), and the mean share of the votes that it has. Contempt, unknown and not a face, which
FER-2013 does not have, are left out of the first and counted in the second. VOTES is FER+'s `fer2013new.csv`, NAMES the
CSV `fer_files,ferplus_names` that joins its rows with files in class folders; files that it does not name are not
counted.

Then a classifier that sees no image, only the ten votes: scikit-learn's gradient boosting (Friedman 2001), fitted on
the training split, says how well FER-2013's label can be told from what ten people said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sklearn.ensemble import HistGradientBoostingClassifier

from cnn.reporting.intervals import wilson_interval
from data_tools.reading.labels import LabelMap
from data_tools.sources.base import SPLITS
from data_tools.sources.csv_rows import RowError
from data_tools.sources.fer_plus import COLUMNS, pooled, votes_by_file
from foundation.errors import UserError

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")  # of FER-2013
_class_of = LabelMap(CLASSES)
PLACES = {label: place for place, column in enumerate(COLUMNS) if (label := _class_of(column)) is not None}


@dataclass(frozen=True)
class Vote:
    """An image: split, label of FER-2013, and votes in the order of FER+'s columns."""

    split: str
    label: str
    counts: tuple[int, ...]

    def most(self) -> float:
        """1 if the label has most votes of all emotions of FER-2013, a fraction if others have as many, else 0."""
        emotions = [self.counts[place] for place in PLACES.values()]
        return (self.counts[PLACES[self.label]] == max(emotions) > 0) / emotions.count(max(emotions))

    def shares(self) -> list[float]:
        """The fraction of the votes in each column, (10,)."""
        return [count / max(sum(self.counts), 1) for count in self.counts]


def read(votes: Path, names: Path) -> list[Vote]:
    """Every file that `names` has. Raises `UserError` for tables that do not fit."""
    for path in (votes, names):
        if not path.is_file():
            raise UserError(f"{path} does not exist")
    found = []
    for file, rows in votes_by_file(votes, names).items():
        label = Path(file).parent.name
        if label not in CLASSES:
            raise UserError(f"{names.name}: {file} is not in a class folder of FER-2013")
        try:
            of_file = pooled(rows)
        except RowError as error:
            raise UserError(f"{names.name}: {file}: {error}") from None
        if of_file.error:
            raise UserError(f"{names.name}: {file}: {of_file.error}")
        found.append(Vote(of_file.split, label, of_file.counts))
    return found


def table(images: Sequence[Vote]) -> str:
    """Agreement by split, in Markdown."""
    rows = [
        f"| split | images | most votes | mean share of votes | {' | '.join(CLASSES)} |",
        f"| --- {'| ---: ' * (3 + len(CLASSES))}|",
    ]
    for split in SPLITS:
        if whole := [image for image in images if image.split == split]:
            share = fmean(image.shares()[PLACES[image.label]] for image in whole)
            cells = [split, f"{len(whole):,}", f"{fmean(image.most() for image in whole):.3f}", f"{share:.3f}"]
            for label in CLASSES:
                of_class = [image.most() for image in whole if image.label == label]
                cells.append(f"{fmean(of_class):.2f}" if of_class else "")
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def told_from_votes(images: Sequence[Vote]) -> dict[str, tuple[int, int]]:
    """Of validation and test: the images whose label gradient boosting tells from the votes, and all of them."""
    train = [image for image in images if image.split == SPLITS[0]]
    booster = HistGradientBoostingClassifier(learning_rate=0.05, max_leaf_nodes=15, random_state=0)
    booster.fit([image.shares() for image in train], [image.label for image in train])
    found = {}
    for split in SPLITS[1:]:
        if scored := [image for image in images if image.split == split]:
            labels = booster.predict([image.shares() for image in scored])
            found[split] = (sum(a == image.label for a, image in zip(labels, scored, strict=True)), len(scored))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annotators", description=__doc__)
    parser.add_argument("--votes", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        images = read(chosen.votes, chosen.names)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(images), end="")
    if len({image.label for image in images if image.split == SPLITS[0]}) > 1:
        for split, (right, of) in told_from_votes(images).items():
            low, high = wilson_interval(right, of)
            print(f"{split}: {right / of:.3f} ({low:.3f} to {high:.3f}) of the labels told from the votes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
