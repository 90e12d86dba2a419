"""Tables side by side that are the splits of a set, `train.csv` and `test.csv`, are read as split folders are."""

from collections import Counter
from pathlib import Path

import pytest
from drawn import pixels, png, prepared, write_tar, write_tree, write_zip
from omegaconf import OmegaConf

from data_tools.auditing.anything import subject_of
from data_tools.detection import fill_in
from data_tools.sources.detect import Detected, detect
from data_tools.sources.find import make_source
from foundation.errors import UserError

Files = dict[str, bytes]
Read = Counter[tuple[str, str]]
KINDS = ("folder", "zip", "tar.gz")


def images(folder: str, count: int, first: int = 0) -> Files:
    return {f"{folder}/{i}.png".lstrip("/"): png(first + i) for i in range(count)}


def table(first: int, end: int, form: str = "images/{}.png", columns: str = "path,label") -> bytes:
    """Rows of the images `first` to `end` - 1; the even ones are cats."""
    rows = [f"{form.format(i)},{('cat', 'dog')[i % 2]}" for i in range(first, end)]
    return "\n".join([columns, *rows]).encode()


def by_folder(first: int, end: int) -> bytes:
    """Rows of images in the folders of their classes."""
    rows = [f"{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(first, end)]
    return "\n".join(["path,label", *rows]).encode()


def pixel_table(first: int, count: int, side: int = 5) -> bytes:
    rows = [f"{i % 2},{' '.join(map(str, pixels(i, side).ravel()))}" for i in range(first, first + count)]
    return "\n".join(["emotion,pixels", *rows]).encode()


def split_counts(**splits: int) -> Read:
    return Counter({(split, name): count for split, count in splits.items() for name in ("cat", "dog")})


IMAGES = images("images", 12)
TWO = {"train": 4, "test": 2}
LISTED = {"train.csv": (0, 8), "test.csv": (8, 12)}
SETS: dict[str, tuple[Files, dict[str, int]]] = {
    "train and test": (IMAGES | {"train.csv": table(0, 8), "test.csv": table(8, 12)}, TWO),
    "three": (
        IMAGES | {"train.csv": table(0, 6), "val.csv": table(6, 8), "test.csv": table(8, 12)},
        {"train": 3, "validation": 1, "test": 2},
    ),
    "other names": (IMAGES | {"Training_set.csv": table(0, 8), "pets_holdout.csv": table(8, 12)}, TWO),
    "no training": (IMAGES | {"dev.csv": table(0, 8), "eval.csv": table(8, 12)}, {"validation": 4, "test": 2}),
    "named like their list": (IMAGES | {"train_labels.csv": table(0, 8), "labels_test.csv": table(8, 12)}, TWO),
    "in a folder of their own": (IMAGES | {"lists/train.txt": table(0, 8), "lists/test.txt": table(8, 12)}, TWO),
    "in folders of splits": (
        images("train", 8) | images("valid", 4, 50)
        | {"train/_classes.csv": table(0, 8, "{}.png"), "valid/_classes.csv": table(0, 4, "{}.png")},
        {"train": 4, "validation": 2},
    ),
    "the same names in each split": (
        images("train", 8) | images("test", 4, 50)
        | {"train.csv": table(0, 8, "{}.png"), "test.csv": table(0, 4, "{}.png")},
        TWO,
    ),
    "other columns in each": (
        IMAGES | {"train.csv": table(0, 8, columns="image,class"), "test.csv": table(8, 12, columns="file,label")}, TWO,
    ),
    "the same other columns": (
        IMAGES | {name: table(*rows, columns="image,class") for name, rows in LISTED.items()}, TWO,
    ),
    "class folders without splits": (
        images("cat", 6) | images("dog", 6, 50) | {"train.csv": by_folder(0, 4), "test.csv": by_folder(4, 6)}, TWO,
    ),
    "one beside them is of no split": (
        IMAGES | {"train.csv": table(0, 8), "test.csv": table(8, 12), "all_of_them.csv": table(0, 12)}, TWO,
    ),
}  # fmt: skip


def at(root: Path, files: Files, kind: str) -> Path:
    path = root / ("pets" if kind == "folder" else f"pets.{kind}")
    {"folder": write_tree, "zip": write_zip, "tar.gz": write_tar}[kind](path, files)
    return path


def read(path: Path, found: Detected) -> Read:
    entries = make_source("pets", str(path.parent), found.config, found.classes).entries()
    return Counter((entry.error, "") if entry.error else (entry.original_split, entry.label) for entry in entries)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SETS)
def test_the_split_of_a_row_is_that_of_its_table(tmp_path: Path, name: str, kind: str) -> None:
    files, splits = SETS[name]
    path = at(tmp_path, files, kind)
    found = detect(path)
    assert found.classes == ("cat", "dog")
    assert read(path, found) == split_counts(**splits)
    assert found.splits == tuple(splits)
    said = " ".join(found.lines)
    for split, count in splits.items():
        assert f"{split} {2 * count}" in said
    assert ("The table all_of_them.csv is not used." in found.lines) == ("all_of_them.csv" in files)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_pixels(tmp_path: Path, kind: str) -> None:
    path = at(tmp_path, {"train.csv": pixel_table(0, 8), "x/y.txt": b"?", "test.csv": pixel_table(8, 4)}, kind)
    found = detect(path)
    assert (found.image_size, found.splits) == (8, ("train", "test"))
    assert read(path, found) == Counter(
        {(split, name): count for split, count in TWO.items() for name in ("angry", "disgust")}
    )


def test_a_table_of_pixels_beside_one_without_labels(tmp_path: Path) -> None:
    path = at(tmp_path, {"train.csv": pixel_table(0, 8), "test.csv": b"pixels\n1 2 3\n"}, "folder")
    assert read(path, detect(path)) == Counter({("", "angry"): 4, ("", "disgust"): 4})


REFUSED = {
    "of no split beside a test": ("labels.csv", "test.csv"),
    "two of one split": ("train.csv", "Training_set.csv"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("names", REFUSED.values(), ids=REFUSED)
def test_test_images_are_never_pooled_with_others(
    tmp_path: Path, names: tuple[str, str], by_class: bool, kind: str
) -> None:
    if by_class:
        files = images("cat", 6) | images("dog", 6, 50)
        files |= {names[0]: by_folder(0, 4), names[1]: by_folder(4, 6)}
    else:
        files = IMAGES | {names[0]: table(0, 8), names[1]: table(8, 12)}
    path = at(tmp_path, files, kind)
    with pytest.raises(UserError) as refused:
        detect(path)
    assert all(name in str(refused.value) for name in names)


def test_a_submission_is_not_taken_for_the_labels(tmp_path: Path) -> None:
    """Of two tables, neither of them of a test split, the one of training is read, and the other named."""
    path = at(tmp_path, images("images", 30) | {"train.csv": table(0, 8), "submission.csv": table(8, 30)}, "folder")
    found = detect(path)
    assert "The table submission.csv is not used." in found.lines
    assert read(path, found) == Counter({("", "cat"): 4, ("", "dog"): 4, ("not in train.csv", ""): 22})


def test_folders_of_splits_win_over_tables(tmp_path: Path) -> None:
    folders = images("train/cat", 2) | images("train/dog", 2, 10) | images("test/cat", 2, 20)
    lists = {"labels.csv": table(0, 2, "{}.png"), "test.csv": table(0, 2, "{}.png")}
    path = at(tmp_path, folders | lists, "folder")
    found = detect(path)
    assert read(path, found) == Counter({("train", "cat"): 2, ("train", "dog"): 2, ("test", "cat"): 2})
    assert sum("is not used: the folders name the classes" in line for line in found.lines) == 2


def test_a_row_may_not_leave_its_table(tmp_path: Path) -> None:
    """Rows of the training table may be of another split, those of other tables not."""
    tables = {"train.csv": b"path,label,split\n0.png,cat,val\n1.png,dog,\n2.png,dog,train\n",
              "test.csv": b"path,label,split\n3.png,cat,train\n4.png,dog,test\n5.png,cat,\n"}  # fmt: skip
    path = at(tmp_path, images("", 6) | tables, "folder")
    assert read(path, detect(path)) == Counter(
        {("validation", "cat"): 1, ("train", "dog"): 2, ("test", "dog"): 1, ("test", "cat"): 1,
         ("row 1: split 'train' in the table of the test split", ""): 1, ("not in train.csv, test.csv", ""): 1}
    )  # fmt: skip


def test_the_same_number_in_two_tables_is_two_rows(tmp_path: Path) -> None:
    tables = {"train.csv": b"path,label\nno.png,cat\n1.png,dog\n", "test.csv": b"path,label\ngone.png,cat\n2.png,dog\n"}
    write_tree(tmp_path / "pets", images("", 3) | tables)
    found = detect(tmp_path / "pets")
    entries = list(make_source("pets", str(tmp_path), found.config).entries())
    missing = {entry.path: entry.original_split for entry in entries if "there is no file" in entry.error}
    assert missing == {"train.csv:1": "train", "test.csv:1": "test"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "train.csv"}, r"data\.sources\.pets\.table: .*tables names the tables"),
        ({"tables": {"trian": "train.csv"}}, r"data\.sources\.pets\.tables: trian is none of train, validation, test"),
        ({"tables": {"train": "gone.csv"}}, "holds 0 times a 'gone.csv'"),
        ({"columns": {"train": {"file": "x"}}}, r"data\.sources\.pets\.columns: file is none of"),
        ({"columns": {"train": {"path": "path"}, "label": "label"}}, r"columns: label is none of train, test"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict, message: str) -> None:
    write_tree(tmp_path / "pets", SETS["train and test"][0])
    given = {"kind": "listed", "tables": {"train": "train.csv", "test": "test.csv"}, **options}
    with pytest.raises(UserError, match=message):
        list(make_source("pets", str(tmp_path), given).entries())


def test_one_line_trains_and_audits_on_the_given_splits(root: Path) -> None:
    write_tree(root / "pets", SETS["three"][0])
    config = OmegaConf.create(
        {"data": {"path": str(root / "pets"), "pack_dir": str(root / "packs"), "audit": "pixels", "name": None,
                  "root": None, "image_size": None, "channels": None, "classes": None, "sources": None},
         "merge": {"duplicates": "pixels"}}
    )  # fmt: skip
    fill_in(config)
    config = OmegaConf.create(OmegaConf.to_yaml(config))  # as recorded with a run
    pack = prepared(config)
    assert Counter(row.split for row in pack.rows) == {"train": 6, "validation": 2, "test": 4}
    subject = subject_of([root / "pets"], OmegaConf.create({"duplicates": "pixels"}))
    (source,) = subject.sources
    assert Counter(entry.original_split for entry in source.entries()) == {"train": 6, "validation": 2, "test": 4}
