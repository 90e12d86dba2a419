"""`python -m benchmarks.duplicate_recall`: recall and precision of the search on known copies of real images.

Copies of distinct images, each by one transformation, are mixed with all images, so that candidates must be found by
the indexes. Precision is measured in two ways: the number of confirmed pairs among hard negatives, which are the pairs
of different images of one class nearest in the embedding; and the number of confirmed pairs with a copy that join it
to another image than its original. Real collections have many prints of one photograph, so pairs that the search
confirms without any copies are excluded beforehand.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from scipy import stats

from data_tools.duplicates.alignment import Aligner
from data_tools.duplicates.candidates import Candidates
from data_tools.duplicates.levels import AUGMENTED, MIRRORED, NEAR, includes
from data_tools.duplicates.search import find_near_duplicates
from data_tools.duplicates.settings import SearchConfig
from data_tools.duplicates.thumbnails import grey, is_blank
from data_tools.merging.augmentation import warp
from data_tools.randomness import generator_for
from data_tools.reading.images import decode
from data_tools.sources.base import Source
from data_tools.sources.find import make_source

Pixels = NDArray[np.uint8]
Make = Callable[[Pixels, np.random.Generator], Pixels]


def jpeg(quality: int) -> Make:
    """Encoded and decoded once more."""

    def make(image: Pixels, generator: np.random.Generator) -> Pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file).convert("L"))

    return make


def resize(size: int) -> Make:
    """Reduced and enlarged again."""

    def make(image: Pixels, generator: np.random.Generator) -> Pixels:
        small = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(small.resize(image.shape[::-1], Image.Resampling.BICUBIC))

    return make


def light(image: Pixels, generator: np.random.Generator) -> Pixels:
    """Contrast times 0.6 to 1.4 about the mean, and up to 40 grey levels brighter or darker."""
    mean = image.mean()
    moved = (image - mean) * generator.uniform(0.6, 1.4) + mean + generator.uniform(-40, 40)
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def crop(pixels: int) -> Make:
    """Cropped by some pixels at two neighbouring sides and resized."""

    def make(image: Pixels, generator: np.random.Generator) -> Pixels:
        down, right = generator.integers(0, 2, 2) * pixels
        height, width = image.shape
        inner = image[down : down + height - pixels, right : right + width - pixels]
        return np.asarray(
            Image.fromarray(np.ascontiguousarray(inner)).resize((width, height), Image.Resampling.BICUBIC)
        )

    return make


def mirror(image: Pixels, generator: np.random.Generator) -> Pixels:
    """Mirrored, and encoded again with quality 75."""
    return jpeg(75)(np.ascontiguousarray(image[:, ::-1]), generator)


def warped(rotation: float, shift: float, zoom: float, flip: bool) -> Make:
    """Warped as by augmentation: uniform within these ranges, the edge repeated."""

    def make(image: Pixels, generator: np.random.Generator) -> Pixels:
        return warp(image[:, :, None], generator, rotation, shift, zoom, flip)[:, :, 0]

    return make


# Name -> the level at which the copy should be found, and its transformation.
TRANSFORMATIONS: dict[str, tuple[str, Make]] = {
    **{f"JPEG quality {quality}": (NEAR, jpeg(quality)) for quality in (30, 50, 70, 95)},
    **{f"resized to {size} and back": (NEAR, resize(size)) for size in (24, 36, 96)},
    "brightness and contrast": (NEAR, light),
    **{f"cropped by {pixels} px": (NEAR, crop(pixels)) for pixels in (1, 2, 3)},
    "rotated by up to 3 degrees": (NEAR, warped(3, 0, 0, False)),
    "mirrored, JPEG quality 75": (MIRRORED, mirror),
    "rotated by up to 20 degrees": (AUGMENTED, warped(20, 0, 0, False)),
    "augmented: 20 degrees, 0.1, 0.15, flip": (AUGMENTED, warped(20, 0.1, 0.15, True)),
}


def read(root: str, names: list[str]) -> tuple[Pixels, list[str]]:
    """Distinct images (n, 48, 48) of the sources, sorted by content, and their labels."""
    found: dict[bytes, tuple[Pixels, str]] = {}
    for name in names:
        source: Source = make_source(name, root, {"kind": "files"})
        for entry in source.entries():
            if entry.error:
                continue
            pixels = decode(entry.data) if entry.data is not None else entry.pixels
            assert pixels is not None
            image = grey([pixels if pixels.ndim == 3 else pixels[:, :, None]])[0]
            found.setdefault(image.tobytes(), (image, entry.label))
    order = sorted(found)
    return np.stack([found[key][0] for key in order]), [found[key][1] for key in order]


def measure(images: Pixels, labels: list[str], each: int, seed: int, cache: Path | None) -> dict[str, object]:
    """Recall of every transformation, each on `each` different images, and precision."""
    config = SearchConfig()
    usable = ~is_blank(images, config.blank_below)
    known = find_near_duplicates(images, usable, AUGMENTED, Aligner(images, config), cache=cache)
    repeated = {place for pair in known for place in (pair.first, pair.second)}
    single = [place for place in np.flatnonzero(usable) if place not in repeated]
    chosen = generator_for(seed, "chosen").permutation(single)[: each * len(TRANSFORMATIONS)]
    copies, parents, kinds = [], [], []
    for number, (name, (_, make)) in enumerate(TRANSFORMATIONS.items()):
        for place in chosen[number :: len(TRANSFORMATIONS)]:
            copies.append(make(images[place], generator_for(seed, name, int(place))))
            parents.append(int(place))
            kinds.append(name)
    together = np.concatenate([images, np.stack(copies)])
    aligner = Aligner(together, config)
    pairs = find_near_duplicates(together, ~is_blank(together, config.blank_below), AUGMENTED, aligner, cache=cache)
    found: dict[int, str] = {}
    wrong = []
    for pair in pairs:
        if pair.second < len(images):
            continue  # both are original images
        copy = pair.second - len(images)
        if pair.first == parents[copy]:
            level = found.get(copy, AUGMENTED)
            found[copy] = pair.level if includes(level, pair.level) else level
        elif pair.first < len(images) or parents[pair.first - len(images)] != parents[copy]:
            wrong.append((pair.first, pair.second, round(pair.detail, 3)))
    confirmed, tried = negatives(images, labels, np.array(single), config, seed)
    recall = {}
    for name, (level, _) in TRANSFORMATIONS.items():
        own = [copy for copy, kind in enumerate(kinds) if kind == name]
        at_level = sum(copy in found and includes(level, found[copy]) for copy in own)
        recall[name] = {
            "copies": len(own),
            "level": level,
            "recall": round(at_level / len(own), 4),
            "recall at augmented": round(sum(copy in found for copy in own) / len(own), 4),
        }
    return {
        "images": len(images),
        "without a near-duplicate of their own": len(single),
        "recall": recall,
        "pairs with a copy confirmed": len(found) + len(wrong),
        "of these to another photograph": wrong,
        "precision": round(len(found) / max(1, len(found) + len(wrong)), 5),
        "hard negatives": tried,
        "hard negatives confirmed": confirmed,
        "precision bound (95 %), hard negatives": round(
            float(stats.beta.ppf(0.95, confirmed + 1, tried - confirmed)), 5
        ),
    }


def negatives(
    images: Pixels, labels: list[str], single: NDArray[np.intp], config: SearchConfig, seed: int
) -> tuple[int, int]:
    """Nearest pairs of one class among images without a near-duplicate: the numbers of confirmed and of all pairs.

    The same search decided that they have no near-duplicate; so each image is first rotated by up to 10 degrees and
    shifted a little, and the pair is compared again from every starting map.
    """
    pool = generator_for(seed, "negatives").permutation(single)[:6000]
    moved = np.stack([warped(10, 0.05, 0.05, False)(images[place], generator_for(seed, int(place))) for place in pool])
    pairs, alike = Candidates(moved).nearest(10, True)
    named = np.array([labels[place] for place in pool])
    same_class = named[pairs[:, 0]] == named[pairs[:, 1]]
    pairs, alike = pairs[same_class], alike[same_class]
    matches = Aligner(moved, config).confirm(pairs, alike)
    return sum(match is not None for match in matches), len(pairs)


def main() -> int:
    """Print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data")
    parser.add_argument("--sources", nargs="+", default=["fer2013"])
    parser.add_argument("--limit", type=int, help="at most this many images, selected by their content")
    parser.add_argument("--each", type=int, default=200, help="copies of each transformation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder in which an interrupted measurement is taken up again")
    arguments = parser.parse_args()
    with Console(stderr=True).status("reading"):
        images, labels = read(arguments.root, arguments.sources)
    if arguments.limit:
        chosen = np.sort(generator_for(arguments.seed, "limit").permutation(len(images))[: arguments.limit])
        images, labels = images[chosen], [labels[place] for place in chosen]
    print(json.dumps(measure(images, labels, arguments.each, arguments.seed, arguments.cache), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
