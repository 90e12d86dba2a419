"""Class folders in every layout and container, and what the tools do with odd members of them."""

import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from drawn import configured, encoded, files_of, pixels, png, prepared, write_tar, write_tree, write_zip

from data_tools.prepare import prepare
from foundation.errors import UserError

SPLITS = {"train": 4, "validation": 2, "test": 2}
ARCHIVES = ["tiny.zip", "tiny.tar", "tiny.tar.gz", "tiny.tgz", "tiny.tar.xz", "tiny.tar.bz2"]


def write(path: Path, files: dict[str, bytes]) -> None:
    writer = write_zip if path.suffix == ".zip" else write_tar if "." in path.name else write_tree
    writer(path, files)


@pytest.mark.parametrize("name", ["tiny", *ARCHIVES])
def test_every_container_gives_the_same_pack(root: Path, name: str) -> None:
    files = files_of(SPLITS)
    write(root / name, files)
    before = sorted(root.rglob("*"))
    pack = prepared(configured(root, "tiny"))
    assert sorted(root.rglob("*")) == before
    assert {row.path for row in pack.rows} == set(files)
    assert np.bincount(pack.splits).tolist() == [8, 4, 4]
    for row in pack.rows:
        expected = encoded(pack.images[row.pack_row, :, :, 0])
        assert expected == files[row.path]
        assert pack.labels[row.pack_row] == pack.json["classes"].index(row.label)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train_dir", "val", "test_dir"),
        ("Training", "valid", "TEST"),
        ("wrapped/train", "wrapped/val", "wrapped/test"),
        ("Training", "PublicTest", "PrivateTest"),
        ("training_set", "dev-set", "Test Set"),
        ("train", "Development", "eval"),
        ("TrainImages", "validation data", "holdout"),
        ("train/train", "train/val", "train/testing"),
        ("test data/train", "test data/valid", "test data/test"),
    ],
)
def test_split_folder_names(root: Path, train: str, validation: str, test: str) -> None:
    write_zip(root / "tiny.zip", files_of({train: 3, validation: 1, test: 1}))
    assert np.bincount(prepared(configured(root, "tiny")).splits).tolist() == [6, 2, 2]


@pytest.mark.parametrize("stray", ["held back", "train2", "more/deep"])
@pytest.mark.parametrize("wrapped", ["", "wrapped/"])
def test_a_folder_beside_splits_that_is_no_known_split_is_refused(root: Path, wrapped: str, stray: str) -> None:
    """Its images would go into training, as those without a split do."""
    write_tree(root / "tiny", files_of({f"{wrapped}{name}": 3 for name in ("train", "test", stray)}))
    with pytest.raises(
        UserError, match=rf"images in {wrapped}{PurePosixPath(stray).parts[0]} beside splits, .* no split: rename it or"
    ):
        prepare(configured(root, "tiny"))


def test_pictures_beside_splits_that_show_no_class_are_set_aside(root: Path) -> None:
    files = files_of({"train": 3, "validation": 1, "test": 1})
    write_tree(root / "tiny", files | {"docs/figures/plan.png": png(70), "docs/cover.png": png(71)})
    pack = prepared(configured(root, "tiny"))
    assert {row.path for row in pack.rows if not row.packed} == {"docs/figures/plan.png", "docs/cover.png"}


@pytest.mark.parametrize("folder", ["", "wrapped"])
def test_no_split_folders(root: Path, folder: str) -> None:
    write_tree(root / "tiny", files_of({folder: 10}))
    pack = prepared(configured(root, "tiny", test={"fraction": 0.2}, validation={"fraction": 0.25}))
    assert {row.original_split for row in pack.rows} == {""}
    assert np.bincount(pack.splits).tolist() == [12, 4, 4]


def test_split_from_file_names(root: Path) -> None:
    files = {}
    for label in ("cat", "dog"):
        for folder, prefix in (("train", "Training_"), ("test", "PublicTest_"), ("test", "PrivateTest_")):
            files[f"{folder}/{label}/{prefix}1.png"] = png(len(files))
    write_tree(root / "tiny", files)
    source = {"tiny": {"kind": "files", "split_from_name": True}}
    pack = prepared(configured(root, data={"sources": source}))
    for row in pack.rows:
        name = row.path.rsplit("/", 1)[-1].split("_")[0]
        assert row.split == {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}[name]


def test_files_that_are_no_images_are_ignored(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = ["LICENSE", "README.md", ".DS_Store", "train/cat/Thumbs.db", "__MACOSX/train/cat/._0.png", "docs/notes.txt"]
    write_zip(root / "tiny.zip", files_of(SPLITS) | dict.fromkeys(odd, b"?"))
    pack = prepared(configured(root, "tiny"))
    assert len(pack.rows) == len(files_of(SPLITS))
    assert f"tiny: {len(odd)} files ignored that are not images" in capsys.readouterr().out


def test_an_image_outside_of_the_class_folders_is_set_aside(root: Path) -> None:
    write_tree(root / "tiny", files_of(SPLITS) | {"train/lost.png": png(99), "cover.png": png(98)})
    pack = prepared(configured(root, "tiny"))
    assert {row.path for row in pack.where(status="set_aside", reason="not inside a class folder")} == {
        "train/lost.png",
        "cover.png",
    }


@pytest.mark.parametrize("writer", ["tar", "zip"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../x", "path leaves the archive"),
        ("train/cat/../../../x.png", "path leaves the archive"),
        ("/train/cat/x.png", "absolute path"),
        ("C:\\train\\cat\\x.png", "absolute path"),
    ],
)
def test_member_that_leads_out_of_the_archive(root: Path, writer: str, name: str, reason: str) -> None:
    files = files_of(SPLITS) | {name: png(99)}
    write_zip(root / "tiny.zip", files) if writer == "zip" else write_tar(root / "tiny.tar", files)
    pack = prepared(configured(root, "tiny"))
    assert [row.reason for row in pack.where(status="set_aside")] == [reason]
    assert len(pack.images) == len(files) - 1
    assert sorted(path.name for path in root.parent.iterdir()) == ["data", "packs"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(tarfile.SYMTYPE, "symbolic link"), (tarfile.LNKTYPE, "hard link"), (tarfile.CHRTYPE, "device")],
)
def test_links_in_an_archive_are_set_aside(root: Path, kind: bytes, reason: str) -> None:
    info = tarfile.TarInfo("train/cat/link.png")
    info.type, info.linkname = kind, "train/cat/0.png"
    write_tar(root / "tiny.tar.gz", files_of(SPLITS), (info,))
    (row,) = prepared(configured(root, "tiny")).where(status="set_aside")
    assert (row.path, row.reason, row.label) == ("train/cat/link.png", reason, "cat")


def test_links_on_disk_are_set_aside_and_loops_end(root: Path) -> None:
    write_tree(root / "tiny", files_of(SPLITS))
    (root / "tiny/train/cat/loop").symlink_to(root / "tiny")
    (root / "tiny/train/cat/gone.png").symlink_to(root / "nowhere.png")
    rows = prepared(configured(root, "tiny")).where(status="set_aside")
    assert [row.reason for row in rows] == ["symbolic link to nothing", "symbolic link in a circle"]


def test_one_path_twice_in_an_archive_gives_two_rows(root: Path) -> None:
    write_tar(root / "tiny.tar", files_of(SPLITS))
    with tarfile.open(root / "tiny.tar", "a") as archive:
        (root / "other.png").write_bytes(png(99))
        archive.add(root / "other.png", "train/cat/0.png")
    pack = prepared(configured(root, "tiny"))
    assert {row.id for row in pack.where(path="train/cat/0.png")} == {"tiny:train/cat/0.png", "tiny:train/cat/0.png#2"}


def test_a_name_that_is_not_utf8(root: Path) -> None:
    write_tree(root / "tiny", files_of(SPLITS))
    name = bytes(root / "tiny/train/cat") + b"/\xff.png"
    with open(name, "wb") as file:
        file.write(png(99))
    assert "tiny:train/cat/\\xff.png" in prepared(configured(root, "tiny")).by_id


def test_empty_class_folder_on_disk(root: Path) -> None:
    write_tree(root / "tiny", files_of(SPLITS))
    (root / "tiny/train/fish").mkdir()
    with pytest.raises(UserError, match=r"class folder .*tiny/train/fish holds no image") as caught:
        prepare(configured(root, "tiny"))
    assert "\n" not in str(caught.value)
    assert not list(root.parent.glob("packs/*"))


@pytest.mark.parametrize("archive", ["tiny.zip", "tiny.tar.xz"])
def test_empty_class_folder_in_an_archive(root: Path, archive: str) -> None:
    folder = tarfile.TarInfo("test/fish")
    folder.type = tarfile.DIRTYPE
    if archive == "tiny.zip":
        write_zip(root / archive, files_of(SPLITS) | {"test/fish/": b""})
    else:
        write_tar(root / archive, files_of(SPLITS), (folder,))
    with pytest.raises(UserError, match=r"class folder test/fish in .* holds no image"):
        prepare(configured(root, "tiny"))


def test_class_folder_with_nothing_but_rubbish_counts_as_empty(root: Path) -> None:
    write_tree(root / "tiny", files_of({"": 3}))
    (root / "tiny/fish").mkdir()
    (root / "tiny/fish/.DS_Store").touch()
    with pytest.raises(UserError, match=r"class folder .*fish holds no image"):
        prepare(configured(root, "tiny"))


def test_empty_split_folder(root: Path) -> None:
    write_tree(root / "tiny", files_of(SPLITS))
    (root / "tiny/val").mkdir()
    with pytest.raises(UserError, match=r"split folder .*val holds no image"):
        prepare(configured(root, "tiny"))


def test_source_without_any_image(root: Path) -> None:
    write_tree(root / "tiny", {"readme.txt": b"nothing here"})
    with pytest.raises(UserError, match="holds no image"):
        prepare(configured(root, "tiny"))


@pytest.mark.parametrize("name", ARCHIVES)
def test_damaged_archive(root: Path, name: str) -> None:
    noise = {f"{path}.png": encoded(pixels(i, 64)) for i, path in enumerate(files_of({"train": 9}))}
    write(root / name, noise)
    whole = (root / name).read_bytes()
    (root / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or incomplete") as caught:
        prepare(configured(root, "tiny"))
    assert name in str(caught.value)
    assert not list(root.parent.glob("packs/*"))


def test_damaged_member_of_a_zip_is_set_aside(root: Path) -> None:
    write_zip(root / "tiny.zip", files_of(SPLITS))
    data = bytearray((root / "tiny.zip").read_bytes())
    start = data.index(png(0))
    data[start + 40] ^= 0xFF
    (root / "tiny.zip").write_bytes(data)
    (row,) = prepared(configured(root, "tiny")).where(status="set_aside")
    assert (row.path, row.reason) == ("train/cat/0.png", "damaged in the archive")


def test_missing_source_says_what_and_where(root: Path) -> None:
    (root / "tiny2.zip").touch()
    with pytest.raises(UserError, match=r"no folder tiny/.*tiny\.zip.*data\.root=") as caught:
        prepare(configured(root, "tiny"))
    assert str(root) in str(caught.value)
    assert not list(root.parent.glob("packs/*"))


@pytest.mark.parametrize(
    ("source", "message"),
    [({"kind": "video"}, "no kind 'video'; choose one of files"), ({"kind": "files", "speed": 3}, "'speed'")],
)
def test_wrong_source_options(root: Path, source: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(configured(root, data={"sources": {"tiny": source}}))
