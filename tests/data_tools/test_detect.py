"""What is found out at a path, and that the source which reads it agrees: every layout that people have."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from array_files import NAMES, cifar_binary, cifar_python, mnist_files
from drawn import encoded, pixels, png, write_tar, write_tree, write_zip
from PIL import Image

from data_tools.sources.containers import Folder, Member, TarArchive, ZipArchive
from data_tools.sources.detect import Detected, detect
from data_tools.sources.find import make_source
from foundation.errors import UserError

Files = dict[str, bytes]


def images(*folders: str, count: int = 2, suffix: str = ".png") -> Files:
    """Different images in each folder."""
    return {f"{folder}/{i}{suffix}": png(hash_of(folder) + i) for folder in folders for i in range(count)}


def hash_of(folder: str) -> int:
    return sum(map(ord, folder)) * 97 % 10_000


def at(root: Path, files: Files, kind: str = "folder", name: str = "pets") -> Path:
    path = root / (name if kind == "folder" else f"{name}.{kind}")
    (write_tree if kind == "folder" else write_zip if kind == "zip" else write_tar)(path, files)
    return path


def read(path: Path, found: Detected) -> Counter[tuple[str, str]]:
    """(split, label) of the entries of the source that was found; (reason, '') of those it refuses."""
    options = {"kind": found.kind, **found.options}
    entries = list(make_source("pets", str(path.parent), options, found.classes).entries())
    return Counter((entry.error, "") if entry.error else (entry.original_split, entry.label) for entry in entries)


def each(splits: str, classes: str, count: int = 2) -> Counter[tuple[str, str]]:
    """`count` images of each class in each split."""
    names = [split if split != "-" else "" for split in splits.split()]
    return Counter({(split, name): count for split in names for name in classes.split(",")})


# Layout -> the folders of the images, the classes in order, and what the entries are.
LAYOUTS: dict[str, tuple[Files, str, Counter]] = {
    "class": (images("cat", "dog"), "cat,dog", each("-", "cat,dog")),
    "split/class": (images("train/cat", "train/dog", "test/cat", "test/dog"), "cat,dog", each("train test", "cat,dog")),
    "wrapped": (
        images("a/b/train/cat", "a/b/val/dog"), "cat,dog", each("train", "cat") + each("validation", "dog"),
    ),
    "train/train/class": (
        images("train/train/cat", "train/train/dog", "test/test/cat"), "cat,dog",
        each("train", "cat,dog") + each("test", "cat"),
    ),
    "split/wrapping/class": (
        images("train/images/cat", "train/images/dog", "test/images/cat"), "cat,dog",
        each("train", "cat,dog") + each("test", "cat"),
    ),
    "class/split": (images("cat/train", "cat/test", "dog/train", "dog/test"), "cat,dog", each("train test", "cat,dog")),
    "class/subject": (
        images("happy/s1", "happy/s2", "sad/s1", "sad/s3", count=1), "happy,sad", each("-", "happy,sad"),
    ),
    "split/class/subject": (
        images("train/happy/anna", "train/sad/bob", "test/happy/carl"), "happy,sad",
        each("train", "happy,sad") + each("test", "happy"),
    ),
    "class/folder of all": (images("cat/images", "dog/images"), "cat,dog", each("-", "cat,dog")),
    "numbered": (
        images("train/0_angry", "train/10_sad", "train/2_happy"), "angry,happy,sad", each("train", "angry,sad,happy"),
    ),
    "numbered, other marks": (images("001.Albatross", "002.Finch"), "Albatross,Finch", each("-", "Albatross,Finch")),
    "not all numbered": (images("0_angry", "happy"), "0_angry,happy", each("-", "0_angry,happy")),
    "two of one name behind the number": (images("2_door", "4_door"), "2_door,4_door", each("-", "2_door,4_door")),
    "numbers": (images("0", "1", "10", "2"), "0,1,10,2", each("-", "0,1,10,2")),
    "seg_train": (
        images("seg_train/seg_train/sea", "seg_train/seg_train/wood", "seg_test/seg_test/sea"), "sea,wood",
        each("train", "sea,wood") + each("test", "sea"),
    ),
    "a class called train": (images("bus", "car", "train"), "bus,car,train", each("-", "bus,car,train")),
    "a class called bullet_train": (images("bullet_train", "car"), "bullet_train,car", each("-", "bullet_train,car")),
    "years": (images("train2017/cat", "train2017/dog", "val2017/cat"), "cat,dog",
              each("train", "cat,dog") + each("validation", "cat")),
    "parts with the same classes": (
        images("part1/cat", "part1/dog", "part2/cat", "part2/dog", count=1), "cat,dog", each("-", "cat,dog"),
    ),
    "no suffix": (images("train/cat", "train/dog", suffix=""), "cat,dog", each("train", "cat,dog")),
    "numbers as suffix": (images("cat", "dog", suffix=".001"), "cat,dog", each("-", "cat,dog")),
    "odd names": (images("Bob's pets & co/cat", "Bob's pets & co/d ø g"), "cat,d ø g", each("-", "cat,d ø g")),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str, kind: str) -> None:
    files, classes, expected = LAYOUTS[layout]
    path = at(tmp_path, files | {"README.md": b"?", "__MACOSX/cat/._0.png": b"?"}, kind)
    found = detect(path)
    assert ",".join(found.classes) == classes
    assert read(path, found) == expected
    assert found.splits == tuple(s for s in ("train", "validation", "test") if any(split == s for split, _ in expected))
    assert all(line.isprintable() for line in found.lines)
    assert any(f"{len(found.classes)} classes: {', '.join(found.classes)}." == line for line in found.lines)


TWO_WAYS = [
    (
        images("art/cat", "art/dog", "photo/cat", "photo/dog"),
        "art, photo the classes, or cat, dog in them",
        "art,photo",
    ),
    (images("animals/cat", "vehicles/car"), "animals, vehicles the classes, or car, cat in them", "car,cat"),
    (images("happy/anna", "sad/bob", "sad/carl"), "happy, sad the classes, or anna, bob, carl in them", "happy,sad"),
]


@pytest.mark.parametrize(("files", "message", "classes"), TWO_WAYS)
def test_folders_that_can_be_read_in_two_ways_are_asked_about(
    tmp_path: Path, files: Files, message: str, classes: str
) -> None:
    path = at(tmp_path, files)
    with pytest.raises(UserError, match=message) as asked:
        detect(path)
    assert "data.classes=" in str(asked.value)
    found = detect(path, classes.split(","))
    assert {label for _, label in read(path, found)} == set(classes.split(","))


# Names of splits beside one another; the second is 'refused' if it is none that is known.
SPLIT_NAMES = [
    ("Training", "Testing", "test"),
    ("train", "eval", "test"),
    ("training_set", "test_set", "test"),
    ("Train Images", "Test Images", "test"),
    ("TRAIN", "VALIDATION", "validation"),
    ("train_images", "val_images", "validation"),
    ("train", "test1", "test"),
    ("train", "dev", "validation"),
    ("train-data", "holdout-data", "test"),
    ("Training", "PublicTest", "validation"),
    ("Training", "PrivateTest", "test"),
    ("x.train", "x.test", "test"),
    ("pets_train", "pets_valid", "validation"),
    ("train", "held back", "refused"),
    ("train", "train2", "refused"),
    ("train", "extra", "refused"),
    ("Training", "unseen", "refused"),
    ("train", "query", "refused"),
]


@pytest.mark.parametrize("wrapped", ["", "pets/"])
@pytest.mark.parametrize(("train", "other", "split"), SPLIT_NAMES)
def test_no_split_is_pooled_with_training(tmp_path: Path, train: str, other: str, split: str, wrapped: str) -> None:
    path = at(tmp_path, images(*(f"{wrapped}{folder}/{name}" for folder in (train, other) for name in ("cat", "dog"))))
    if split == "refused":
        with pytest.raises(UserError, match=f"images in {wrapped}{other} beside splits, .* no split: rename it"):
            detect(path)
        with pytest.raises(UserError, match="beside splits"):
            list(make_source("pets", str(tmp_path), {}, ("cat", "dog")).entries())
    else:
        assert read(path, detect(path)) == each(f"train {split}", "cat,dog")


def test_unlabelled_images_beside_splits_are_in_no_class(tmp_path: Path) -> None:
    path = at(tmp_path, images("train/cat", "train/dog") | images("seg_pred", count=3))
    found = detect(path)
    assert found.classes == ("cat", "dog")
    assert any("3 images are in no class folder" in line for line in found.lines)
    assert read(path, found)["train", "cat"] == 2


def test_two_spellings_of_one_name_are_one_class(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    path = at(tmp_path, images(f"train/{composed}", f"test/{apart}", "train/Bar", "test/bar"))
    found = detect(path)
    assert found.classes == ("Bar", composed)
    assert any("Bar and bar are one class" in line for line in found.lines)
    assert read(path, found) == Counter(
        {("train", composed): 2, ("test", composed): 2, ("train", "Bar"): 2, ("test", "bar"): 2}
    )


@pytest.mark.parametrize(
    "files", [images("images"), {"1.png": png(1), "2.png": png(2)}, images("a/photos"), images("test")]
)
def test_images_without_labels(tmp_path: Path, files: Files) -> None:
    path = at(tmp_path, files)
    found = detect(path)
    assert found.classes == ()
    assert {label for _, label in read(path, found)} == {"image"}


# --- links ------------------------------------------------------------------------------------------------------------


def test_linked_classes_inside_the_folder_are_followed(tmp_path: Path) -> None:
    path = at(tmp_path, images("store/a", "store/b"))
    (path / "pets").mkdir()
    (path / "pets/cat").symlink_to(path / "store/a")
    (path / "pets/dog").symlink_to(Path("../store/b"))
    entries = list(make_source("pets", str(tmp_path), {}, ("cat", "dog")).entries())
    assert Counter(entry.label for entry in entries) == {"cat": 2, "dog": 2, "a": 2, "b": 2}


def test_linked_classes_that_leave_the_folder_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_tree(tmp_path / "elsewhere", images("cat"))
    path = at(tmp_path, images("dog", "fox"))
    (path / "cat").symlink_to(tmp_path / "elsewhere/cat")
    found = detect(path)
    assert found.classes == ("dog", "fox")
    assert "Not read: 1 times symbolic link out of the data folder (cat)." in found.lines
    assert read(path, found)["symbolic link out of the data folder", ""] == 1


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    path = at(tmp_path, images("cat", "dog"))
    (path / "cat/up").symlink_to(path)
    (path / "cat/self").symlink_to("self")
    (path / "dog/other").symlink_to(path / "cat")
    (path / "cat/other").symlink_to(path / "dog")
    assert detect(path).classes == ("cat", "dog")
    assert sum(1 for _ in Folder(path).members()) < 40


# --- size and colour --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "side"), [([(8, 8)], 8), ([(3, 3)], 8), ([(28, 28)], 28), ([(350, 350)], 64), ([(30, 50)], 39),
                        ([(20, 20), (24, 24), (400, 400)], 24)]
)  # fmt: skip
def test_size(tmp_path: Path, sizes: list[tuple[int, int]], side: int) -> None:
    rng = np.random.default_rng(0)
    files = {
        f"{c}/{i}.png": encoded(rng.integers(0, 256, size, np.uint8)) for c in "ab" for i, size in enumerate(sizes)
    }
    assert detect(at(tmp_path, files)).image_size == side


GREY = Image.fromarray(pixels(1, 16))
COLOUR = Image.fromarray(pixels(1, 16, 3))
CLEAR = Image.merge("LA", (GREY, GREY))


@pytest.mark.parametrize(
    ("image", "options", "channels"),
    [
        (GREY, {"format": "png"}, 1), (GREY.convert("RGB"), {"format": "png"}, 1), (GREY, {"format": "jpeg"}, 1),
        (GREY.convert("RGB"), {"format": "jpeg", "quality": 60}, 1), (GREY.convert("RGBA"), {"format": "png"}, 1),
        (CLEAR, {"format": "png"}, 1), (GREY.convert("1"), {"format": "png"}, 1),
        (GREY.convert("I;16"), {"format": "png"}, 1),
        (COLOUR, {"format": "png"}, 3), (COLOUR, {"format": "jpeg"}, 3), (COLOUR.convert("P"), {"format": "gif"}, 3),
        (COLOUR.convert("CMYK"), {"format": "jpeg"}, 3),
    ],
)  # fmt: skip
def test_channels(tmp_path: Path, image: Image.Image, options: dict, channels: int) -> None:
    for name in ("a", "b"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        image.save(tmp_path / "pets" / name / f"x.{options['format']}", **options)
    assert detect(tmp_path / "pets").channels == channels


def test_one_coloured_image_among_grey_ones_makes_the_pack_coloured(tmp_path: Path) -> None:
    path = at(tmp_path, images("a", "b", count=5) | {"b/x.png": encoded(pixels(3, 8, 3))})
    assert detect(path).channels == 3


def test_few_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3,000 images a small part is opened, from all over the folder."""
    data = png(1)
    path = at(tmp_path, {f"{c}/{i:04}.png": data for c in ("a", "b", "c") for i in range(1000)}, "zip")
    opened = []
    whole = ZipArchive.members

    def counted(archive: ZipArchive) -> Iterator[Member]:
        for member in whole(archive):
            yield replace(member, open=lambda member=member: (opened.append(member.path), member.open())[1])

    monkeypatch.setattr(ZipArchive, "members", counted)
    assert detect(path).classes == ("a", "b", "c")
    assert 50 < len(opened) < 600
    assert {name[0] for name in opened} == {"a", "b", "c"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_the_archive_is_passed_over_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = at(tmp_path, images("train/cat", "train/dog", "test/cat") | {"labels.csv": b"path,label\nx,y\n"}, kind)
    passes = []
    for container in (ZipArchive, TarArchive):
        whole = container.members
        monkeypatch.setattr(container, "members", lambda self, whole=whole: (passes.append(1), whole(self))[1])
    detect(path)
    assert len(passes) == 1


# --- other kinds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_mnist_and_cifar(tmp_path: Path, kind: str) -> None:
    path = at(tmp_path, mnist_files(), kind, "mnist")
    found = detect(path)
    assert (found.classes, found.splits, found.image_size, found.channels) == (
        tuple("0123456789"),
        ("train", "test"),
        28,
        1,
    )
    assert sum(read(path, found).values()) == 50
    for name, files in (("binary", cifar_binary()), ("python", cifar_python())):
        path = at(tmp_path, files, kind, name)
        found = detect(path)
        assert (found.classes, found.splits, found.image_size, found.channels) == (
            tuple(NAMES),
            ("train", "test"),
            32,
            3,
        )
        assert sum(read(path, found).values()) == 60


def fer_table(side: int) -> bytes:
    usages = ["Training"] * 14 + ["PrivateTest"] * 7
    rows = [f"{i % 7},{' '.join(map(str, pixels(i, side).ravel()))},{usage}" for i, usage in enumerate(usages)]
    return "\n".join(["emotion,pixels,Usage", *rows]).encode()


@pytest.mark.parametrize("name", ["fer2013.csv", "faces", "faces.txt", "faces.zip", "wrapped/train.csv"])
@pytest.mark.parametrize("side", [12, 48])
def test_the_fer_table(tmp_path: Path, name: str, side: int) -> None:
    if name.endswith("zip"):
        write_zip(tmp_path / name, {"x/fer2013.csv": fer_table(side)})
    else:
        write_tree(tmp_path, {name: fer_table(side)})
    path = tmp_path / name.partition("/")[0]
    found = detect(path)
    assert set(found.classes) == {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}
    assert (found.splits, found.image_size, found.channels) == (("train", "test"), side, 1)
    assert sum(read(path, found).values()) == 21


TABLES = {
    "path,label": b"path,label\nimages/0.png,cat\nimages/1.png,dog\n",
    "image,emotion": b"user.id,image,emotion\n1,0.png,cat\n2,1.png,dog\n",
    "semicolons": b"Filename;Class\n0.png;cat\n1.png;dog\n",
    "no suffix in the names": b"image_id,species\n0,cat\n1,dog\n",
    "tabs": b"File Name\tCategory\nimages/0.png\tcat\nimages/1.png\tdog\n",
    "upper case": b"IMAGE,LABEL\n0.PNG,cat\n1.PNG,dog\n",
    "folds": b"path,label,fold\nimages/0.png,cat,0\nimages/1.png,dog,1\n",
}


@pytest.mark.parametrize("place", ["folder", "zip", "tar.gz", "alone", "other folder"])
@pytest.mark.parametrize("table", TABLES)
def test_tables_of_paths(tmp_path: Path, table: str, place: str) -> None:
    data = TABLES[table]
    files = images("images")
    if place == "alone":
        write_tree(tmp_path, files | {"labels.csv": data})
        path = tmp_path / "labels.csv"
    else:
        name = "data/legend.csv" if place == "other folder" else "labels.csv"
        path = at(tmp_path, files | {name: data}, "folder" if place == "other folder" else place)
    found = detect(path)
    assert found.kind == "listed"
    assert found.classes == ("cat", "dog")
    assert read(path, found) == {("", "cat"): 1, ("", "dog"): 1}


def test_splits_in_a_table(tmp_path: Path) -> None:
    rows = b"file,class,usage\n0.png,cat,Training\n1.png,dog,TEST\n"
    path = at(tmp_path, images("images") | {"labels.csv": rows})
    found = detect(path)
    assert found.splits == ("train", "test")
    assert read(path, found) == {("train", "cat"): 1, ("test", "dog"): 1}


def test_class_folders_win_over_a_table_and_it_is_said(tmp_path: Path) -> None:
    path = at(tmp_path, images("cat", "dog") | {"labels.csv": b"path,label\ncat/0.png,x\n"})
    found = detect(path)
    assert found.classes == ("cat", "dog")
    assert "The table labels.csv is not used: the folders name the classes." in found.lines


# --- refused ----------------------------------------------------------------------------------------------------------


def make(root: Path, kind: str) -> Path:
    path = root / "pets"
    if kind == "nothing there":
        return path
    if kind == "an image":
        path = root / "x.png"
        path.write_bytes(png(1))
    elif kind == "text":
        path.write_bytes(b"hello\nworld\n")
    elif kind == "no bytes":
        path.write_bytes(b"")
    elif kind == "half an archive":
        path = at(root, {f"{c}/{i}.png": encoded(pixels(i, 64)) for c in "ab" for i in range(9)}, "tar.gz")
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        files = {
            "an empty folder": {},
            "no image": {"readme.txt": b"hello", "notes/x.md": b"?"},
            "an archive inside": {"images.zip": b"PK"},
            "broken images": {"a/1.png": b"?", "b/2.png": b"??"},
        }[kind]
        path.mkdir()
        write_tree(path, files)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing there", "there is no such folder, archive or table"),
        ("an empty folder", "is empty"),
        ("no image", r"holds no image and no table of images, but 2 other files \(notes/x.md, ...\)"),
        ("an archive inside", r"holds no image but the archive images\.zip: give that one as the path"),
        ("an image", "is a single image: give a folder, a zip or tar, or a CSV"),
        ("text", "is neither a folder, an archive nor a table of images"),
        ("no bytes", "is neither a folder, an archive nor a table of images"),
        ("half an archive", "is damaged or incomplete"),
        ("broken images", "none of the 2 files looked at could be read as an image"),
        ("a pipe", "is neither a folder, an archive nor a table of images"),
    ],
)
def test_what_holds_no_images_is_refused_in_one_line(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        detect(make(tmp_path, kind))
    assert str(refused.value).isprintable()


def test_an_archive_is_known_by_its_content(tmp_path: Path) -> None:
    for kind in ("zip", "tar", "tar.gz", "tar.xz"):
        path = at(tmp_path, images("cat", "dog"), kind)
        path = path.rename(tmp_path / f"download-{kind.replace('.', '-')}")
        assert detect(path).classes == ("cat", "dog")
        assert read(path, detect(path)) == each("-", "cat,dog")
