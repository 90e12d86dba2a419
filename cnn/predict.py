"""`python -m cnn.predict run=FOLDER images=PATH`: class probabilities for your own images, or of faces in photos."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cnn.assembly import groups, ops_of, require_int, views_of
from cnn.finished_run import FinishedRun
from cnn.photos.crops import CROP_SIDE, crop, square_of
from cnn.photos.mtcnn import SMALLEST, Face, FaceFinder
from cnn.photos.shape import unlike_training
from cnn.training.inference import predict_probabilities
from data_tools.reading.images import ImageError, decode_file, fit
from data_tools.reading.value_range import range_up_to
from foundation.csv_cells import cell
from foundation.entry import entry
from foundation.errors import UserError
from foundation.files import atomic_path, write_json, write_text
from foundation.schema import UNSET
from foundation.screen import Screen, screen

DRAWN = ".predicted.png"  # the end of the names of photographs with boxes, which are no input
FACES = ("none", "find")


@dataclass
class PredictSettings:
    """The options outside the groups."""

    run: str = UNSET
    images: str | list[str] = UNSET
    faces: str = "none"
    face_size: int = SMALLEST
    face_margin: float = CROP_SIDE
    out: str | None = None
    csv: str | None = None
    json: str | None = None
    tta: str = "none"
    tta_shift: int = 2
    tta_crop: float = 0.875
    batch_size: int = 256


@dataclass
class Seen:
    """A file that was read: its size, and the parts of it that the network gets, in its input's shape."""

    path: Path
    size: tuple[int, int]  # width, height
    inputs: list[NDArray[np.uint8]] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)  # of each input, with faces=find
    squares: list[tuple[int, int, int]] = field(default_factory=list)
    probabilities: list[list[float]] = field(default_factory=list)


@entry("predict", groups("backend", top=PredictSettings))
def main(config: DictConfig) -> None:
    """Print a table: one row per image, or per face, with its prediction, and the probability of each class."""
    ops, paths, views = ops_of(config), _paths(config.images), views_of(config)
    finder = _finder(config)
    drawings = {} if finder is None else _drawings(paths, config.out)
    run = FinishedRun.open(Path(config.run), ops)
    *size, channels = run.image_shape
    if channels not in (1, 3):
        raise UserError(f"run={config.run}: its network sees images of {channels} channels, files hold 1 or 3")
    seen, refused, warnings = _read(paths, run, finder, config)
    for line in (*refused, *warnings):
        print(line)
    if not seen:
        raise UserError(f"images={_shown(config.images)}: none of {len(refused)} files could be read as an image")
    inputs = [each for image in seen for each in image.inputs]
    if inputs:
        probabilities = predict_probabilities(
            run.model,
            ops.array(np.stack(inputs)),
            run.batches,
            require_int(config, "batch_size", 1),
            views=views.views((size[0], size[1])),
        )
        rows = iter(probabilities.tolist())
        for image in seen:
            image.probabilities = [next(rows) for _ in image.inputs]
        _print_table(seen, run.classes, finder is not None)
    if finder is not None:
        _draw(seen, run, drawings)
    if config.csv is not None:
        write_text(Path(config.csv), _csv(seen, run.classes, finder is not None))
    if config.json is not None:
        write_json(Path(config.json), [_as_dict(image, run.classes, finder is not None) for image in seen])


def _finder(config: DictConfig) -> FaceFinder | None:
    """What finds faces, if faces=find. Raises `UserError` for wrong options, or without the weights."""
    if config.faces not in FACES:
        raise UserError(f"faces is '{config.faces}'; choose one of: {', '.join(FACES)}")
    if config.faces == "none":
        if config.out is not None:
            raise UserError("out=FOLDER is for the drawings of faces=find; csv=FILE and json=FILE name other results")
        return None
    require_int(config, "face_size", 12)
    if not 0.2 <= config.face_margin <= 5:
        raise UserError(f"face_margin must be from 0.2 to 5, not {config.face_margin}")
    return FaceFinder()


def _read(
    paths: Sequence[Path], run: FinishedRun, finder: FaceFinder | None, config: DictConfig
) -> tuple[list[Seen], list[str], list[str]]:
    """The files that could be read, lines about those that could not, and warnings."""
    height, width, channels = run.image_shape
    range_ = range_up_to(run.value_top)  # images of more than 8 bits are as bright as in training
    seen, refused, shapes = [], [], []
    for path in paths:
        try:
            pixels = decode_file(path, range_)
        except ImageError as error:
            refused.append(f"set aside: {path}: {error}")
            continue
        image = Seen(path, (pixels.shape[1], pixels.shape[0]))
        seen.append(image)
        if finder is None:
            image.inputs.append(fit(pixels, (height, width), channels))
            shapes.append(pixels.shape)
            continue
        for face in finder.find(pixels, config.face_size):
            image.faces.append(face)
            image.squares.append(square_of(face, config.face_margin))
            image.inputs.append(fit(crop(pixels, image.squares[-1]), (height, width), channels))
    warnings = unlike_training([str(image.path) for image in seen], shapes, run.image_shape) if finder is None else []
    return seen, refused, warnings


def _print_table(seen: Sequence[Seen], classes: Sequence[str], faces: bool) -> None:
    columns = ["image", *(["face"] if faces else []), "prediction"]
    table = Table(*columns, *map(escape, classes))
    for image in seen:
        for number, row in enumerate(image.probabilities, 1):
            cells = [Text(str(image.path)), *([Text(str(number))] if faces else [])]
            table.add_row(*cells, Text(classes[int(np.argmax(row))], "bold"), *(f"{p:.3f}" for p in row))
    # In a pipe or file the table is so wide that long names are not cut.
    console = screen() if screen().is_terminal else Screen(width=1000)
    console.print(table)


def _csv(seen: Sequence[Seen], classes: Sequence[str], faces: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_face = ["face", "left", "top", "side", "face_probability"] if faces else []
    writer.writerow(["image", *of_face, "prediction", *map(cell, classes)])
    for image in seen:
        for at, row in enumerate(image.probabilities):
            place = [at + 1, *image.squares[at], image.faces[at].score] if faces else []
            writer.writerow([cell(str(image.path)), *place, cell(classes[int(np.argmax(row))]), *row])
    return text.getvalue()


def _as_dict(image: Seen, classes: Sequence[str], faces: bool) -> dict[str, Any]:
    """An image with its size, and its prediction or its faces' squares in pixels and predictions."""
    of_input = [
        {"prediction": classes[int(np.argmax(row))], "probabilities": dict(zip(classes, row, strict=True))}
        for row in image.probabilities
    ]
    about: dict[str, Any] = {"image": str(image.path), "width": image.size[0], "height": image.size[1]}
    if not faces:
        return about | of_input[0]
    squares = [dict(zip(("left", "top", "side"), square, strict=True)) for square in image.squares]
    scores = [{"face_probability": face.score} for face in image.faces]
    return about | {"faces": [s | p | r for s, p, r in zip(squares, scores, of_input, strict=True)]}


# --- photographs with boxes -----------------------------------------------------------------------------------------


def _drawings(paths: Sequence[Path], out: str | None) -> dict[Path, Path]:
    """Where each photograph is drawn: beside it or in `out`, under the name of no file that is read.

    Raises `UserError` before any work if nothing can be written there.
    """
    folders = {path: path.parent if out is None else Path(out) for path in paths}
    for folder in dict.fromkeys(folders.values()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"{folder}: cannot be written to ({error.strerror}); give out=FOLDER") from error
    stems = Counter((folders[path], path.stem) for path in paths)
    found: dict[Path, Path] = {}
    for path in paths:
        name = path.stem if stems[folders[path], path.stem] == 1 else path.name
        target, number = folders[path] / f"{name}{DRAWN}", 1
        while target in found.values() or target in folders or target.is_dir():
            number += 1
            target = folders[path] / f"{name}.{number}{DRAWN}"
        found[path] = target
    return found


def _draw(seen: Sequence[Seen], run: FinishedRun, drawings: dict[Path, Path]) -> None:
    """Write the photographs with boxes, and say of each what was found."""
    from cnn.photos.drawing import Predicted, drawn  # noqa: PLC0415 - fonts, only for photographs

    for image in seen:
        target = drawings[image.path]
        faces = [Predicted(*pair) for pair in zip(image.squares, image.probabilities, strict=True)]
        with atomic_path(target) as temporary:
            drawn(decode_file(image.path, range_up_to(run.value_top)), faces, run.classes).save(temporary)
        number = f"{len(faces)} face{'s' * (len(faces) > 1)} found" if faces else "no face found"
        print(f"{image.path}: {number}, drawn in {target}")


# --- paths ----------------------------------------------------------------------------------------------------------


def _shown(images: Any) -> str:
    return images if isinstance(images, str) else f"[{','.join(map(str, images))}]"


def _paths(images: Any) -> list[Path]:
    """The files of the option `images`, each once. Raises `UserError` if it names none."""
    given = [images] if isinstance(images, str) else [str(each) for each in images]
    if not given:
        raise UserError("images=[] names no file")
    return list(dict.fromkeys(path for each in given for path in _files(Path(each))))


def _files(given: Path) -> Iterator[Path]:
    """The file itself, or the files directly in a folder without hidden ones and drawings of this command."""
    if given.is_file():
        yield given
        return
    if not given.is_dir():
        raise UserError(f"images={given}: there is no such file or folder")
    found = sorted(path for path in given.iterdir() if path.is_file() and not path.name.startswith("."))
    found = [path for path in found if not path.name.endswith(DRAWN)]
    if not found:
        raise UserError(f"images={given}: the folder holds no files")
    yield from found


if __name__ == "__main__":
    main()
