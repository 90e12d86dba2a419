"""Images listed in a CSV: where the table may lie, what a row may say, and what becomes of the rest."""

from pathlib import Path

import numpy as np
import pytest
from drawn import CLASSES, Pack, configured, files_of, png, prepared, write_tar, write_tree, write_zip

from data_tools.prepare import prepare
from foundation.errors import UserError

SPLITS = {"train": 4, "validation": 2, "test": 2}


def flat() -> dict[str, bytes]:
    """Images whose paths tell nothing."""
    return {f"images/{i:02}.png": data for i, data in enumerate(files_of(SPLITS).values())}


def rows(header: str = "path,label,split") -> list[str]:
    splits = [split for split, number in SPLITS.items() for _ in CLASSES for _ in range(number)]
    labels = [name for number in SPLITS.values() for name in CLASSES for _ in range(number)]
    cells = [{"path": p, "label": c, "split": s} for p, c, s in zip(flat(), labels, splits, strict=True)]
    return [header, *(",".join(row[name] for name in header.split(",")) for row in cells)]


def text(*more: str, lines: list[str] | None = None, end: str = "\n") -> bytes:
    return (end.join([*(lines or rows()), *more]) + end).encode()


def read(root: Path, **options: object) -> Pack:
    return prepared(configured(root, data={"sources": {"mine": {"kind": "listed", **options}}}))


def set_aside(pack: Pack) -> dict[str, str]:
    return {row.path: row.reason for row in pack.where(status="set_aside")}


@pytest.mark.parametrize("place", ["mine", "mine.zip", "mine.tar.gz", "beside", "wrapped.zip"])
def test_where_the_table_may_lie(root: Path, place: str) -> None:
    files = flat() | {"labels.csv": text()}
    if place == "mine":
        write_tree(root / "mine", files)
    elif place == "beside":
        write_tree(root, flat() | {"mine.csv": text(), "other/x.png": png(99)})
    elif place == "wrapped.zip":
        write_zip(root / "mine.zip", {f"faces/{path}": data for path, data in files.items()})
    else:
        (write_zip if place == "mine.zip" else write_tar)(root / place, files)
    pack = read(root)
    assert np.bincount(pack.splits).tolist() == [8, 4, 4]
    assert len(pack.rows) == 16
    expected = {line.split(",")[0]: line.split(",")[1:] for line in rows()[1:]}
    for row in pack.rows:
        assert [row.label, row.split] == expected[row.path.removeprefix("faces/")]
        seed = int(Path(row.path).stem)
        sample = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
        np.testing.assert_array_equal(pack.images[row.pack_row, :, :, 0], sample)


def test_without_splits(root: Path) -> None:
    write_tree(root / "mine", flat() | {"labels.csv": text(lines=rows("label,path"))})
    pack = prepared(
        configured(root, data={"sources": {"mine": {"kind": "listed"}}}, test={"fraction": 0.25},
                   validation={"fraction": 0.25})
    )  # fmt: skip
    assert {row.original_split for row in pack.rows} == {""}
    assert len(pack.rows) == 16


@pytest.mark.parametrize(
    "table",
    [
        text(end="\r\n"),
        text(end="\r"),
        b"\xef\xbb\xbf" + text(),
        text().replace(b",", b";"),
        text().replace(b",", b"\t"),
        text(lines=[" Path , LABEL,Split,extra", *rows()[1:]]).replace(b"train\n", b"Training,1\n"),
        text("", " , ,", ""),
        text(lines=[line.replace("images/", "./images/") for line in rows()]),
        text(lines=[line.replace("images/", "images\\") for line in rows()]),
        text(lines=["path,label,split", *(f'"{line.replace(",", chr(34) + ",", 1)}' for line in rows()[1:])]),
    ],
    ids=["crlf", "cr", "bom", "semicolon", "tab", "header", "blank", "dot", "backslash", "quoted"],
)
def test_dialects(root: Path, table: bytes) -> None:
    write_tree(root / "mine", flat() | {"labels.csv": table})
    pack = read(root)
    assert not set_aside(pack)
    assert np.bincount(pack.splits).tolist() == [8, 4, 4]


def test_other_names_for_the_columns_and_the_table(root: Path) -> None:
    lines = ["file,emotion,usage", *rows()[1:]]
    write_tree(root / "mine", flat() | {"labels.csv": text(lines=lines), "other.csv": b"a,b\n"})
    columns = {"path": "file", "label": "Emotion", "split": "Usage"}
    assert len(read(root, table="labels.csv", columns=columns).images) == 16
    with pytest.raises(UserError, match=r"holds 2 times a CSV file .*table=NAME"):
        read(root, columns=columns)
    with pytest.raises(UserError, match=r"holds 0 times a 'faces\.csv'"):
        read(root, table="faces.csv")
    with pytest.raises(UserError, match=r"sources\.mine\.columns: file is none of path, label, split"):
        read(root, columns={"file": "path"})


BAD = [
    ("images/99.png,cat,train", "row 17: there is no file 'images/99.png'"),
    (",cat,train", "row 17: has no path"),
    ("/etc/passwd,cat,train", "row 17: path '/etc/passwd': absolute path"),
    ("C:\\x.png,cat,train", "row 17: path 'C:\\x.png': absolute path"),
    ("images/../../x.png,cat,train", "row 17: path 'images/../../x.png': path leaves the folder"),
    ("images/99.png,cat,holiday", "row 17: split 'holiday' is none of train, validation, test"),
    ("images/99.png", "row 17: has 1 fields instead of 3"),
    ('"images/99.png,cat,train', "row 17: is not CSV (unexpected end of data)"),
    ("images/99.png,cat," + "x" * 2**17, "row 17: is longer than 131,072 characters"),
    ("images/9\x009.png,cat,train", "row 17: has a path with a NUL byte"),
]


@pytest.mark.parametrize("place", ["inside", "beside"])
@pytest.mark.parametrize(("row", "reason"), BAD)
def test_bad_row(root: Path, place: str, row: str, reason: str) -> None:
    table = text(row, "images/more.png,cat,train")
    if place == "inside":
        write_tree(root / "mine", flat() | {"images/more.png": png(50), "labels.csv": table})
    else:
        write_tree(root, flat() | {"images/more.png": png(50), "mine.csv": table})
    pack = read(root)
    name = "labels.csv" if place == "inside" else "mine.csv"
    assert set_aside(pack) == {f"{name}:17": reason}
    assert len(pack.images) == 17


@pytest.mark.parametrize("label", ["", "nan", "3", "fish"])
def test_label_that_is_no_class(root: Path, label: str) -> None:
    table = text(f"images/more.png,{label},train")
    write_tree(root / "mine", flat() | {"images/more.png": png(50), "labels.csv": table})
    assert set_aside(read(root)) == {"images/more.png": f"unknown label '{label}'"}


def test_an_image_that_is_not_listed_is_set_aside_and_other_files_are_counted(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tree(root / "mine", flat() | {"more.png": png(50), "README": b"?", "labels.csv": text("")})
    assert set_aside(read(root)) == {"more.png": "not in labels.csv"}
    assert "mine: 2 files ignored that are not images" in capsys.readouterr().out  # README and a blank row


def test_a_file_listed_twice_has_two_rows(root: Path) -> None:
    write_tree(root / "mine", flat() | {"labels.csv": text("images/00.png,dog,test")})
    pack = read(root)
    assert {row.id: row.label for row in pack.where(path="images/00.png")} == {
        "mine:images/00.png": "cat",
        "mine:images/00.png#2": "dog",
    }


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_links_and_folders_are_not_followed(root: Path, place: str) -> None:
    (root.parent / "secret").mkdir()
    (root.parent / "secret/x.png").write_bytes(png(77))
    table = text("link.png,cat,train", "linked/x.png,cat,train", "images,cat,train")
    folder = root / "mine" if place == "inside" else root
    write_tree(folder, flat() | {"labels.csv" if place == "inside" else "mine.csv": table})
    (folder / "link.png").symlink_to(root.parent / "secret/x.png")
    (folder / "linked").symlink_to(root.parent / "secret")
    pack = read(root)
    assert len(pack.images) == 16
    refused = sorted(set_aside(pack).values())
    out = "symbolic link out of the data folder"
    if place == "inside":
        assert refused == [f"row 17: {out}", "row 18: there is no file 'linked/x.png'", "row 19: is a folder", out]
    else:
        assert refused == [f"row 17: {out}", f"row 18: {out}", "row 19: there is no file 'images'"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", r"labels\.csv has no column 'path' \(its header: 'empty'\)"),
        (b"\n\n", "has no column 'path'"),
        (b"file,label\na,b\n", r"has no column 'path' \(its header: 'file, label'\); it needs path,label"),
        (b"path,label,label\na,b,c\n", "has the column 'label' 2 times"),
        (b"path,label\n", r"labels\.csv has no row"),
        ("path,label\na,b\n".encode("utf-16"), "has no column 'path'"),
        (b'"path,label\na,b\n', "its header is not CSV"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "has no column 'path'"),
    ],
)
def test_table_that_is_none(root: Path, table: bytes, message: str) -> None:
    write_tree(root / "mine", flat() | {"labels.csv": table})
    with pytest.raises(UserError, match=message) as caught:
        read(root)
    assert str(caught.value).isprintable()
    assert not list(root.parent.glob("packs/*"))


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_a_changed_file_makes_the_pack_anew(root: Path, place: str) -> None:
    name, folder = ("labels.csv", root / "mine") if place == "inside" else ("mine.csv", root)
    write_tree(folder, flat() | {name: text()})
    config = configured(root, data={"sources": {"mine": {"kind": "listed"}}})
    before = Pack(prepare(config))
    (folder / "images/00.png").write_bytes(png(1234, compress_level=0))
    after = Pack(prepare(config))
    assert after.folder != before.folder
    assert after.json["content_hash"] != before.json["content_hash"]


def test_a_name_in_latin_1_is_found_by_a_table_in_latin_1(root: Path) -> None:
    write_tree(root / "mine", flat() | {"labels.csv": text() + b"images/\xe9.png,cat,train\n"})
    with open(bytes(root / "mine/images") + b"/\xe9.png", "wb") as file:
        file.write(png(50))
    assert read(root).by_id["mine:images/\\xe9.png"].label == "cat"


# --- a table apart from its images ------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["pictures", "pictures.zip", "pictures.tar.gz"])
@pytest.mark.parametrize("table", ["mine.csv", "mine", "mine.txt"])
def test_a_table_apart_from_its_images(root: Path, images: str, table: str) -> None:
    files = flat() | {"images/more.png": png(50)}
    writer = write_zip if images.endswith("zip") else write_tar if "." in images else write_tree
    writer(root / images, files)
    (root / table).write_bytes(text("images/99.png,cat,train"))
    pack = read(root, images=images, stem=table)
    assert np.bincount(pack.splits).tolist() == [8, 4, 4]
    assert set_aside(pack) == {
        "images/more.png": f"not in {table}",
        f"{table}:17": "row 17: there is no file 'images/99.png'",
    }


@pytest.mark.parametrize("given", ["absolute", "current folder"])
def test_where_the_images_may_be(root: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    write_tree(root.parent / "elsewhere", flat())
    (root / "mine.csv").write_bytes(text())
    monkeypatch.chdir(root.parent)
    images = "elsewhere" if given == "current folder" else str(root.parent / "elsewhere")
    assert len(read(root, images=images).images) == 16


@pytest.mark.parametrize("images", ["nowhere", "/nowhere", "mine.csv"])
def test_a_folder_of_images_that_is_not_there(root: Path, images: str) -> None:
    (root / "mine.csv").write_bytes(text())
    with pytest.raises(UserError, match=r"data\.sources\.mine\.images: there is no folder or archive"):
        read(root, images=images)


@pytest.mark.parametrize("place", ["apart", "inside", "beside"])
def test_absolute_paths_are_read_if_they_lie_in_the_folder_of_the_images(root: Path, place: str) -> None:
    folder = {"apart": root.parent / "elsewhere", "inside": root / "mine", "beside": root}[place]
    (root.parent / "secret").mkdir()
    (root.parent / "secret/x.png").write_bytes(png(77))
    lines = [rows()[0], *(f"{folder}/{line}" for line in rows()[1:])]
    lines += [f"{root.parent}/secret/x.png,cat,train", f"{folder}/../secret/x.png,cat,train"]
    write_tree(folder, flat())
    (folder / "labels.csv" if place == "inside" else root / "mine.csv").write_bytes(text(lines=lines))
    pack = read(root, **({"images": str(folder)} if place == "apart" else {}))
    assert len(pack.images) == 16
    refused = sorted(set_aside(pack).values())
    assert len(refused) == 2
    assert refused[0].startswith("row 17: path '")
    assert refused[0].endswith("absolute path")
    assert "row 18: path '" in refused[1]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("images/00", True), ("00.png", True), ("00", True), ("IMAGES/00.PNG", True), ("./images/00.png", True),
        ("images/00.jpg", False), ("0.png", False), ("ages/00.png", False),
    ],
)  # fmt: skip
def test_other_spellings_of_a_file_that_is_there(root: Path, written: str, found: bool) -> None:
    lines = [line.replace("images/00.png", written) for line in rows()]
    write_tree(root / "mine", flat() | {"labels.csv": text(lines=lines)})
    pack = read(root)
    assert len(pack.images) == 15 + found
    assert ("mine:labels.csv:1" in pack.by_id) != found


def test_a_name_that_several_files_have_is_refused(root: Path) -> None:
    lines = ["path,label,split", "x.png,cat,train", *rows()[1:]]
    write_tree(root / "mine", flat() | {"a/x.png": png(50), "b/x.png": png(51), "labels.csv": text(lines=lines)})
    reasons = set_aside(read(root))
    assert reasons["labels.csv:1"].startswith("row 1: 2 files are called 'x.png', such as ")
