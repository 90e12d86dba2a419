"""The pack on disk: whole or absent, reused while it is current, remade when not; and the command itself."""

import errno
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn import configured, files_of, png, prepared, write_tree
from hydra import compose, initialize_config_dir

import data_tools.packs.pack
from data_tools.prepare import prepare
from data_tools.reading.manifest import read_manifest
from foundation.config import config_dir
from foundation.entry import explain
from foundation.errors import UserError
from foundation.pack_hash import content_hash

SPLITS = {"train": 4, "validation": 2, "test": 2}


@pytest.fixture
def tiny(root: Path) -> Path:
    write_tree(root / "tiny", files_of(SPLITS))
    return root


def test_contents(tiny: Path) -> None:
    pack = prepared(configured(tiny, "tiny"))
    assert sorted(path.name for path in pack.folder.iterdir()) == [
        "audit.html", "audit.json", "images.npy", "labels.npy", "manifest.csv", "pack.json", "splits.npy",
    ]  # fmt: skip
    assert (pack.images.dtype, pack.labels.dtype, pack.splits.dtype) == (np.uint8, np.int64, np.uint8)
    assert pack.images.shape == (16, 8, 8, 1)
    assert pack.json["counts"]["kept"] == {
        "tiny": {split: {"cat": number, "dog": number} for split, number in SPLITS.items()}
    }
    assert pack.json["statuses"] == {"kept": 16}
    assert pack.json["content_hash"] == content_hash(pack.images, pack.labels, pack.splits, pack.json["classes"])
    row = pack.by_id["tiny:train/cat/0.png"]
    assert row.bytes_sha256 == hashlib.sha256(png(0)).hexdigest()
    head = "id,source,path,original_split,raw_label,label,bytes_sha256,pixels_sha256,"
    lines = (pack.folder / "manifest.csv").read_text().splitlines()
    assert lines[0] == head + "perceptual_hash,group,status,reason,duplicate_of,split,parent,pack_row,width,height,mode"
    assert len(lines) == 17


def test_content_hash_sees_every_part() -> None:
    images, labels, splits = np.zeros((2, 1, 1, 1), np.uint8), np.array([0, 1]), np.array([0, 1], np.uint8)
    hashes = {
        content_hash(images, labels, splits, ["a", "b"]),
        content_hash(images + np.uint8(1), labels, splits, ["a", "b"]),
        content_hash(images, labels[::-1], splits, ["a", "b"]),
        content_hash(images, labels, splits[::-1], ["a", "b"]),
        content_hash(images, labels, splits, ["b", "a"]),
        content_hash(images.reshape(1, 2, 1, 1), labels, splits, ["a", "b"]),
    }
    assert len(hashes) == 6


def test_reuse_and_remake(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = prepare(configured(tiny, "tiny"))
    made = (first / "pack.json").stat().st_mtime_ns
    assert "using the pack" not in capsys.readouterr().out
    assert prepare(configured(tiny, "tiny")) == first
    assert "using the pack" in capsys.readouterr().out
    assert (first / "pack.json").stat().st_mtime_ns == made

    other = prepare(configured(tiny, "tiny", balance={"target": 7}))
    assert other != first
    assert first.exists()

    write_tree(tiny / "tiny", {"train/cat/new.png": png(99)})
    changed = prepare(configured(tiny, "tiny"))
    assert len(np.load(changed / "images.npy")) == 17
    assert sorted(first.parent.iterdir()) == sorted([first, other, changed])


@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_damaged_pack_is_made_again(tiny: Path, damage: str) -> None:
    folder = prepare(configured(tiny, "tiny"))
    if damage == "missing":
        (folder / "pack.json").unlink()
    else:
        (folder / "pack.json").write_text("{")
    (folder / "images.npy").unlink()
    assert prepare(configured(tiny, "tiny")) == folder
    assert len(np.load(folder / "images.npy")) == 16


def test_full_disk_leaves_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, array: np.ndarray) -> None:
        path.write_bytes(b"begun")
        if path.name == "splits.npy":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(data_tools.packs.pack, "write_array", full)
    with pytest.raises(OSError, match="No space left") as caught:
        prepare(configured(tiny, "tiny"))
    line = explain(caught.value)
    assert line is not None
    assert "no partial file was left" in line
    assert list((tiny.parent / "packs").iterdir()) == []


def test_file_size_limit_keeps_the_older_pack(tiny: Path) -> None:
    """A real failing write, in the middle of the images, while an older pack of the same name stands."""
    folder = prepare(configured(tiny, "tiny"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_tree(tiny / "tiny", files_of({"train": 60}, first=100))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            prepare(configured(tiny, "tiny"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert explain(caught.value) is not None
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_manifest_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("id,path\n")
    with pytest.raises(UserError, match="other columns"):
        read_manifest(tmp_path / "manifest.csv")
    with pytest.raises(UserError, match="is missing"):
        read_manifest(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("overrides", "thin", "drawn", "target"),
    [
        (["data=fer2013"], ["train"], 0, None),
        (["data=fer2013", "merge=predecessor_sizes"], ["train", "validation", "test"], 0.2, 7000),
        (["merge=default", "data=fer2013"], ["train"], 0.2, None),
        (["data=fer2013_fed"], ["train"], 0.2, None),
        (["data=fed", "merge=official"], ["train"], 0, None),
    ],
)
@pytest.mark.parametrize("main", ["prepare", "config"])
def test_which_policy_a_data_set_gets(
    main: str, overrides: list[str], thin: list[str], drawn: float, target: int | None
) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose(main, overrides)
    assert config.merge.thin == thin
    assert config.merge.test.fraction == drawn
    assert config.merge.balance.target == target


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    project = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "data_tools.prepare", *arguments]
    environment = os.environ | {"PYTHONPATH": str(project)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_command(tiny: Path) -> None:
    place = tiny.parent / "here"
    place.mkdir()
    (tiny / "tiny").rename(tiny / "fed")
    arguments = ["data=fed", "data.classes=[cat,dog]", f"data.root={tiny}"]
    done = run(*arguments, "merge.balance.target=6", folder=place)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("Input images", "Kept", "Added copies", "16 input images; kept 16, duplicate 0", "made 4"):
        assert text in done.stdout
    assert [path.name for path in place.iterdir()] == ["packs"]


def test_command_without_data(tmp_path: Path) -> None:
    done = run("data=fed", "data.root=nowhere", folder=tmp_path)
    assert done.returncode == 2
    assert "error: data source 'fed': there is no folder fed/" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
