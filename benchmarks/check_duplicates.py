"""`python -m benchmarks.check_duplicates PACK`: validation or test images with a near-duplicate in training.

The check is independent of the code that removes duplicates, and reads only the arrays of the pack. It is exhaustive up
to mirrored copies: every evaluation image, unchanged and mirrored, is compared coarsely with every training image, and
similar pairs again at every shift of up to 3 pixels. The search for warped copies of all images would take too long, so
a sample of the evaluation images is warped over a grid of rotations, zooms and shifts, compared with every training
image, and the best candidates are fitted further. The sample gives an upper bound (Clopper and Pearson 1934).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy import ndimage, optimize, stats

Floats = NDArray[np.float32]

SIDE = 48
COARSE = 0.85  # correlation of blurred images from which a pair is compared closely
CORRELATION = 0.95  # of a pair at its best shift
SHIFTS = 3  # pixels
TURNS, ZOOMS, MOVES = (-36, -27, -18, -9, 0, 9, 18, 27, 36), (0.8, 1.0, 1.25), (-6, -3, 0, 3, 6)
BEST = 8  # training images that are fitted further, for each evaluation image of the sample
DETAIL = 0.80  # of the fine structure after the fit


@dataclass(frozen=True)
class Pair:
    """Rows of the pack, and their similarity."""

    evaluated: int
    trained: int
    kind: str
    score: float


def grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 48, 48) of a pack's images (n, h, w, c)."""
    one = images[:, :, :, 0] if images.shape[3] == 1 else np.rint(images @ [0.299, 0.587, 0.114]).astype(np.uint8)
    if one.shape[1:] == (SIDE, SIDE):
        return one
    return np.stack([np.asarray(Image.fromarray(image).resize((SIDE, SIDE))) for image in one])


def unit(images: NDArray) -> Floats:
    """(n, pixels): mean 0 and length 1; a blank image is all zeros."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > 2 * np.sqrt(flat.shape[1]), flat / np.maximum(length, 1e-6), 0).astype(np.float32)


def equal(evaluated: NDArray[np.uint8], trained: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs with the same pixels."""
    places = {image.tobytes(): at for at, image in enumerate(trained)}
    return [(at, places[key]) for at, image in enumerate(evaluated) if (key := image.tobytes()) in places]


def shifted(
    evaluated: NDArray[np.uint8], trained: NDArray[np.uint8], show: bool
) -> tuple[list[tuple[int, int, bool, float]], int]:
    """Pairs that are similar at their best shift, mirrored or not, and the number of pairs compared closely.

    The blurred middle of every evaluation image is compared with every training image at shifts 3 pixels apart, so
    that no shift is further than 1.5 pixels from one of them.
    """
    blurred = ndimage.gaussian_filter(trained.astype(np.float32), (0, 2, 2))
    grid = [
        unit(_window(blurred, down, right)[:, ::2, ::2]) for down, right in product((0, SHIFTS, 2 * SHIFTS), repeat=2)
    ]
    found, looked_at = [], 0
    steps = [(at, mirrored) for at in range(0, len(evaluated), 200) for mirrored in (False, True)]
    for at, mirrored in track(steps, "comparing all", disable=not show, console=Console(stderr=True)):
        piece = evaluated[at : at + 200, :, ::-1] if mirrored else evaluated[at : at + 200]
        soft = ndimage.gaussian_filter(piece.astype(np.float32), (0, 2, 2))
        middle = unit(_window(soft, SHIFTS, SHIFTS)[:, ::2, ::2])
        alike = np.zeros((len(piece), len(trained)), bool)
        for other in grid:
            alike |= middle @ other.T >= COARSE
        for first in np.flatnonzero(alike.any(axis=1)):
            others = np.flatnonzero(alike[first])
            looked_at += len(others)
            scores = best_shift(piece[first], trained[others])
            found += [
                (at + int(first), int(others[place]), mirrored, float(scores[place]))
                for place in np.flatnonzero(scores >= CORRELATION)
            ]
    return found, looked_at


def _window(images: NDArray, down: int, right: int) -> NDArray:
    inner = SIDE - 2 * SHIFTS
    return images[:, down : down + inner, right : right + inner]


def best_shift(image: NDArray[np.uint8], others: NDArray[np.uint8]) -> Floats:
    """(m,): highest correlation of the image's middle with any shift of the others."""
    middle = unit(_window(image[None], SHIFTS, SHIFTS))[0]
    best = np.full(len(others), -1, np.float32)
    for down, right in product(range(2 * SHIFTS + 1), repeat=2):
        np.maximum(best, unit(_window(others, down, right)) @ middle, out=best)
    return best


def warped(evaluated: NDArray[np.uint8], trained: NDArray[np.uint8], show: bool) -> list[tuple[int, int, bool, float]]:
    """The best fit of each evaluation image to any training image, if its detail agrees."""
    window = slice(8, 40)
    small = unit(ndimage.gaussian_filter(trained.astype(np.float32), (0, 1.5, 1.5))[:, window, window][:, ::2, ::2])
    found = []
    for at in track(range(len(evaluated)), "warping a sample", disable=not show, console=Console(stderr=True)):
        bank, warps = [], []
        for mirrored, turn, zoom in product((False, True), TURNS, ZOOMS):
            source = evaluated[at, :, ::-1] if mirrored else evaluated[at]
            matrix = turn_and_zoom(np.deg2rad(turn), zoom, zoom)
            moved = ndimage.gaussian_filter(place(source, matrix, np.zeros(2)), 1.5)
            for down, right in product(MOVES, repeat=2):
                bank.append(moved[8 + down : 40 + down : 2, 8 + right : 40 + right : 2])
                warps.append((mirrored, turn, zoom, down, right))
        alike = unit(np.stack(bank)) @ small.T
        best = (-1.0, -1, False)
        for other in np.argsort(-alike.max(axis=0))[:BEST]:
            mirrored, turn, zoom, down, right = warps[int(alike[:, other].argmax())]
            source = evaluated[at, :, ::-1] if mirrored else evaluated[at]
            start = np.array([np.deg2rad(turn), zoom, zoom, down, right])
            score = fit(source, trained[other], start)
            if score > best[0]:
                best = (score, int(other), mirrored)
        if best[0] >= DETAIL:
            found.append((at, best[1], best[2], best[0]))
    return found


def turn_and_zoom(angle: float, tall: float, wide: float) -> NDArray[np.float64]:
    """The matrix from a rotated and zoomed image to its original."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([1 / tall, 1 / wide])


def place(image: NDArray[np.uint8], matrix: NDArray[np.float64], move: NDArray[np.float64]) -> Floats:
    """The image under a matrix about its middle; pixels from outside repeat the edge."""
    middle = np.full(2, (SIDE - 1) / 2)
    offset = middle - matrix @ (middle - move)
    return ndimage.affine_transform(image.astype(np.float32), matrix, offset, order=1, mode="nearest")


def fit(image: NDArray[np.uint8], other: NDArray[np.uint8], start: NDArray[np.float64]) -> float:
    """Agreement of the fine structure in the middle after angle, two zooms and a shift are fitted (Nelder-Mead)."""
    inner = slice(6, -6)

    def correlation(parameters: NDArray[np.float64], low: float, high: float) -> float:
        angle, tall, wide, down, right = parameters
        if not (0.5 < tall < 2 and 0.5 < wide < 2):
            return -1.0
        laid = place(image, turn_and_zoom(angle, tall, wide), np.array([down, right]))
        return float(unit_band(laid, low, high, inner) @ unit_band(other.astype(np.float32), low, high, inner))

    simplex = np.vstack([start, start + np.diag([0.1, 0.08, 0.08, 1.5, 1.5])])
    for low, high in ((1.5, 6.0), (0.7, 2.5)):
        result = optimize.minimize(
            lambda at, low=low, high=high: -correlation(at, low, high), simplex[0], method="Nelder-Mead",
            options={"initial_simplex": simplex, "maxiter": 120, "xatol": 1e-3, "fatol": 1e-4},
        )  # fmt: skip
        if -result.fun < 0.5:
            return -1.0
        simplex = np.vstack([result.x, result.x + np.diag([0.02, 0.02, 0.02, 0.4, 0.4])])
    return float(-result.fun)


def unit_band(image: Floats, low: float, high: float, inner: slice) -> Floats:
    """The difference of two Gaussian blurs in the middle of the image, normalised to length 1."""
    band = (ndimage.gaussian_filter(image, low) - ndimage.gaussian_filter(image, high))[inner, inner].ravel()
    band = band - band.mean()
    return band / max(float(np.linalg.norm(band)), 1e-6)


def check(
    folder: Path, sample: int, seed: int, show: bool, part: tuple[int, int] = (1, 1)
) -> tuple[dict[str, object], list[Pair]]:
    """The counts, and the pairs that were found; of the evaluation images only one of the given number of parts."""
    images, splits = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("images", "splits"))
    greys = grey(images)
    trained, evaluated = np.flatnonzero(splits == 0), np.flatnonzero(splits > 0)[part[0] - 1 :: part[1]]
    found = [Pair(int(evaluated[a]), int(trained[b]), "equal", 1.0)
             for a, b in equal(greys[evaluated], greys[trained])]  # fmt: skip
    close, looked_at = shifted(greys[evaluated], greys[trained], show)
    found += [
        Pair(int(evaluated[a]), int(trained[b]), "mirrored" if mirrored else "near", score)
        for a, b, mirrored, score in close
    ]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(evaluated))[:sample])
    fitted = warped(greys[evaluated[chosen]], greys[trained], show)
    found += [Pair(int(evaluated[chosen[a]]), int(trained[b]), "warped", score) for a, b, _, score in fitted]
    bound = stats.beta.ppf(0.95, len(fitted) + 1, len(chosen) - len(fitted)) if len(fitted) < len(chosen) else 1.0
    counts = {
        "pack": folder.name,
        "part": f"{part[0]}/{part[1]}",
        "training images": len(trained),
        "evaluation images": len(evaluated),
        "pairs compared": 2 * len(trained) * len(evaluated),
        "pairs compared at every shift": looked_at,
        "evaluation images with an equal copy": len({pair.evaluated for pair in found if pair.kind == "equal"}),
        "with a near-duplicate": len({pair.evaluated for pair in found if pair.kind == "near"}),
        "with a mirrored copy": len({pair.evaluated for pair in found if pair.kind == "mirrored"}),
        "sample for warped copies": len(chosen),
        "of these with a warped copy": len(fitted),
        "fraction with one, at most (95 %)": round(float(bound), 4),
    }
    return counts, found


def sheet(path: Path, images: NDArray[np.uint8], found: list[Pair]) -> None:
    """An image of the pairs, side by side, with a gap after every two pairs."""
    pairs = [np.hstack([*images[[pair.evaluated, pair.trained]], np.full((SIDE, 6), 255, np.uint8)]) for pair in found]
    pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % 8)
    rows = [np.hstack(pairs[at : at + 8]) for at in range(0, len(pairs), 8)]
    Image.fromarray(np.vstack([np.vstack([row, np.full((6, row.shape[1]), 255, np.uint8)]) for row in rows])).save(path)


def main() -> int:
    """Print the counts as JSON; 1 if there is a pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--sample", type=int, default=300, help="evaluation images that warped copies are sought of")
    parser.add_argument("--part", default="1/1", help="2/5: the second of five parts of the evaluation images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="PNG of the pairs that were found")
    arguments = parser.parse_args()
    number, parts = (int(value) for value in arguments.part.split("/"))
    if not 1 <= number <= parts:
        parser.error(f"--part {arguments.part}: the first number goes from 1 to the second")
    counts, found = check(arguments.pack, arguments.sample, arguments.seed, sys.stderr.isatty(), (number, parts))
    print(json.dumps(counts, indent=2))
    if found and arguments.sheet:
        images = grey(np.load(arguments.pack / "images.npy", allow_pickle=False))
        sheet(arguments.sheet, images, sorted(found, key=lambda pair: (pair.kind, -pair.score))[:160])
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
