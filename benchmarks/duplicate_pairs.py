"""`python -m benchmarks.duplicate_pairs SHEET`: draws a sheet of confirmed pairs at random from bands of agreement.

The thresholds of `merge.twins` were chosen from such sheets, and a person counts wrong pairs on them. With `--below`
the search also confirms pairs below the default thresholds. A pair is shown as the first image, the second, and the
second warped onto the first by the map that the search found.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.data.collecting import collect
from data_tools.duplicates.alignment import Aligner
from data_tools.duplicates.levels import AUGMENTED, SEARCHED
from data_tools.duplicates.search import NearDuplicate, find_near_duplicates
from data_tools.duplicates.thumbnails import SIDE, grey, is_blank
from data_tools.progress import bar
from data_tools.randomness import generator_for
from foundation.files import atomic_path

_MARGIN, _GAP = 72, 6  # pixels: for the band's name, and between pairs


@dataclass(frozen=True)
class Band:
    """The pairs with a detail in one band, and a random selection of them."""

    name: str
    low: float
    pairs: int
    drawn: list[NearDuplicate]


def draw(pairs: list[NearDuplicate], limits: list[float], each: int, seed: int) -> list[Band]:
    """At most `each` pairs of every band between two limits, the best band first."""
    bands = []
    for low, high in sorted(pairwise(sorted(limits)), reverse=True):
        inside = [pair for pair in pairs if low <= pair.detail < high]
        chosen = generator_for(seed, f"{low} {high}").permutation(len(inside))[:each]
        bands.append(Band(f"{low:.2f}-{min(high, 1):.2f}", low, len(inside), [inside[at] for at in chosen]))
    return bands


def sheet(images: NDArray[np.uint8], bands: list[Band], columns: int, threshold: float) -> Image.Image:
    """The pairs of every band, `columns` per row: first, second, second warped onto first. A line at `threshold`."""
    width = 3 * SIDE + _GAP
    lines = [
        (None if at else band, band.drawn[at : at + columns])
        for band in bands
        for at in range(0, len(band.drawn), columns)
    ]
    page = Image.new("L", (_MARGIN + columns * width, max(1, len(lines)) * (SIDE + _GAP)), 255)
    pen = ImageDraw.Draw(page)
    above = False
    for row, (band, pairs) in enumerate(lines):
        top = row * (SIDE + _GAP)
        if band:
            pen.text((2, top + SIDE // 3), band.name, fill=0)
            if above and band.low < threshold:
                pen.line((0, top - _GAP // 2, page.width, top - _GAP // 2), fill=0, width=2)
            above = band.low >= threshold
        for column, pair in enumerate(pairs):
            left = _MARGIN + column * width
            first, second = images[pair.first], images[pair.second]
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            laid = cv2.warpAffine(second, pair.affine, (SIDE, SIDE), flags=flags, borderValue=128)
            for place, image in enumerate((first, second, laid)):
                page.paste(Image.fromarray(np.asarray(image)), (left + place * SIDE, top))
    return page


def main() -> int:
    """Write the sheet, and print the numbers of pairs and of shown pairs in each band."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sheet", type=Path, help="image to be written, .png")
    parser.add_argument("--root", default="data")
    parser.add_argument("--data", default="fer2013_fed", help="of conf/data/")
    parser.add_argument("--level", choices=SEARCHED, default=AUGMENTED, help="pairs that this level adds")
    parser.add_argument("--bands", type=float, nargs="+", default=[0.65, 0.8, 0.82, 0.85, 0.95, 1.01])
    parser.add_argument("--below", action="store_true", help="confirm all pairs of these bands, not only the defaults'")
    parser.add_argument("--each", type=int, default=24, help="pairs of every band")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder of earlier searches: .twins beside the packs")
    arguments = parser.parse_args()
    with bar("reading"):
        collection, config = collect(arguments.data, arguments.root)
    threshold = config.detail
    if arguments.below:
        config = replace(config, detail=min(arguments.bands), alike_detail=min(arguments.bands))
    distinct = {row.pixels_sha256: row.id for row in collection.rows}
    images = grey([collection.thumbnails[distinct[pixels]] for pixels in sorted(distinct)])
    usable, aligner = ~is_blank(images, config.blank_below), Aligner(images, config)
    with bar("searching") as progress:
        pairs = find_near_duplicates(images, usable, AUGMENTED, aligner, cache=arguments.cache, report=progress.report)
    of_level = [pair for pair in pairs if pair.level == arguments.level]
    bands = draw(of_level, arguments.bands, arguments.each, arguments.seed)
    with atomic_path(arguments.sheet) as temporary:
        sheet(images, bands, arguments.columns, threshold).save(temporary, "PNG")
    for band in bands:
        print(f"{band.name}: {len(band.drawn)} of {band.pairs:,} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
