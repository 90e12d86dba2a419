"""`python -m benchmarks.annotators --votes VOTES --names NAMES`: how far people agree with FER-2013's labels.

For each split: on how many images the label of FER-2013 is the emotion with most of FER+'s ten votes (of several such
emotions each counts by its share), and the mean share of the votes that it has. Contempt, unknown and not a face, which
FER-2013 does not have, are left out of the first and counted in the second. VOTES is FER+'s `fer2013new.csv`, NAMES the
CSV `fer_files,ferplus_names` that joins its rows with files in class folders; files that it does not name are not
counted.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.sources.csv_rows import RowError
from data_tools.sources.fer_plus import COLUMNS, pooled, read_names, read_votes
from foundation.errors import UserError

CLASSES = {  # of FER-2013 -> FER+'s column
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}
PLACES = [COLUMNS.index(column) for column in CLASSES.values()]
SPLITS = ("train", "validation", "test")


@dataclass
class Agreement:
    """Sums over images of one split or of one of its classes."""

    images: int = 0
    most: float = 0.0
    share: float = 0.0

    def add(self, label: str, counts: Sequence[int]) -> None:
        """Count an image with this label of FER-2013 and these votes in the order of FER+'s columns."""
        emotions = [counts[place] for place in PLACES]
        mine = counts[COLUMNS.index(CLASSES[label])]
        self.images += 1
        self.most += (mine == max(emotions) > 0) / emotions.count(max(emotions))
        self.share += mine / max(sum(counts), 1)


def agreement(votes: Path, names: Path) -> dict[tuple[str, str], Agreement]:
    """By split and class, and by split and "" for all classes. Raises `UserError` for tables that do not fit."""
    for path in (votes, names):
        if not path.is_file():
            raise UserError(f"{path} does not exist")
    rows = dict(read_votes(votes))
    found: defaultdict[tuple[str, str], Agreement] = defaultdict(Agreement)
    for file, its_rows in read_names(names).items():
        label = Path(file).parent.name
        if label not in CLASSES:
            raise UserError(f"{names.name}: {file} is not in a class folder of FER-2013")
        try:
            sum_of_votes = pooled([rows[name] for name in its_rows if name in rows])
        except RowError as error:
            raise UserError(f"{names.name}: {file}: {error}") from None
        if sum_of_votes.error:
            raise UserError(f"{names.name}: {file}: {sum_of_votes.error}")
        for key in (label, ""):
            found[sum_of_votes.split, key].add(label, sum_of_votes.counts)
    return dict(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annotators", description=__doc__)
    parser.add_argument("--votes", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        found = agreement(chosen.votes, chosen.names)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"| split | images | most votes | mean share of votes | {' | '.join(CLASSES)} |")
    print(f"| --- {'| ---: ' * (3 + len(CLASSES))}|")
    for split in SPLITS:
        if (split, "") in found:
            whole = found[split, ""]
            cells = [
                split,
                f"{whole.images:,}",
                f"{whole.most / whole.images:.3f}",
                f"{whole.share / whole.images:.3f}",
            ]
            of_classes = (found.get((split, label)) for label in CLASSES)
            cells += [f"{each.most / each.images:.2f}" if each else "" for each in of_classes]
            print(f"| {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
