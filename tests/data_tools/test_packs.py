"""Packs side by side: one for every state of the sources, found again, listed, and removed by name."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from drawn import configured, files_of, png, write_tree
from hydra import compose, initialize_config_dir

from data_tools.packs.__main__ import main
from data_tools.prepare import prepare
from foundation.config import config_dir
from foundation.errors import UserError

SPLITS = {"train": 4, "validation": 2, "test": 2}


def config_of(place: Path, **options: object):
    """The packs of all places in one folder."""
    return configured(place, "tiny", data={"pack_dir": str(place.parent / "packs")}, **options)


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two roots with different images under one name."""
    roots = [tmp_path / "one", tmp_path / "two"]
    for number, root in enumerate(roots):
        write_tree(root / "tiny", files_of(SPLITS, first=100 * number))
    return roots


def test_two_roots_under_one_name_keep_a_pack_each(two: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    packs = [prepare(config_of(root)) for root in two]
    assert packs[0] != packs[1]
    assert not np.array_equal(*(np.load(pack / "images.npy") for pack in packs))
    assert packs[0].name in capsys.readouterr().out  # the second tells that there is the first
    for root, pack in zip(two, packs, strict=True):
        assert prepare(config_of(root)) == pack
    assert capsys.readouterr().out.count("using the pack") == 2


def test_a_changed_source_gets_a_pack_and_the_old_state_finds_its_own_again(two: list[Path]) -> None:
    first = prepare(config_of(two[0]))
    fingerprint = {path: path.stat() for path in (two[0] / "tiny").rglob("*")}
    write_tree(two[0] / "tiny", {"train/cat/new.png": png(99)})
    second = prepare(config_of(two[0]))
    assert first != second
    assert first.exists()
    (two[0] / "tiny/train/cat/new.png").unlink()
    for path, status in fingerprint.items():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert prepare(config_of(two[0])) == first


def test_a_pack_is_found_without_its_sources(two: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    pack = prepare(config_of(two[0]))
    shutil.rmtree(two[0] / "tiny")
    assert prepare(config_of(two[0])) == pack
    copied = two[0].parent / "copied"  # on another machine, under another name
    shutil.copytree(pack, copied / "any name")
    elsewhere = configured(Path("/nowhere"), "tiny", data={"pack_dir": str(copied)})
    assert prepare(elsewhere) == copied / "any name"
    assert "as it is" in capsys.readouterr().out
    with pytest.raises(UserError, match="there is no folder tiny"):
        prepare(configured(Path("/nowhere"), "tiny", data={"pack_dir": str(copied)}, blank="all"))


def test_of_two_packs_without_sources_the_one_of_the_same_folder_is_used_else_none(two: list[Path]) -> None:
    packs = [prepare(config_of(root)) for root in two]
    for root in two:
        shutil.rmtree(root / "tiny")
    assert [prepare(config_of(root)) for root in two] == packs
    third = configured(two[0].parent / "three", "tiny", data={"pack_dir": str(packs[0].parent)})
    with pytest.raises(UserError) as refusal:
        prepare(third)
    for text in (packs[0].name, packs[1].name, str(two[0]), str(two[1])):
        assert text in str(refusal.value)


def test_a_pack_with_the_name_of_an_earlier_version_is_used(two: list[Path]) -> None:
    pack = prepare(config_of(two[0]))
    older = pack.rename(pack.parent / pack.name.rpartition("-")[0])
    assert prepare(config_of(two[0])) == older


def test_a_pack_of_a_folder_whose_layout_was_found_out_is_found_without_the_folder(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(two[0].parent)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        given = ["data=folder", "data.path=one/tiny", "data.image_size=8"]
        pack = prepare(compose("prepare", given))
        shutil.rmtree(two[0])
        assert prepare(compose("prepare", given)) == pack
        assert prepare(compose("prepare", [*given[:1], "data.path=/elsewhere/tiny.zip"])) == pack
        assert capsys.readouterr().out.count("as it is") == 2
        for other in ("data.path=other", "data.classes=[cat,cow]", "data.image_size=9", "merge.blank=all"):
            with pytest.raises(UserError):
                prepare(compose("prepare", [*given, other]))


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `python -m data_tools.packs`; the exit status, and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["packs", *arguments])
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        found = capsys.readouterr()
        return status, found.out + found.err

    return run


@pytest.fixture
def packs(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two packs in ./packs, the first 40 days old; beside them what is no pack."""
    found = [prepare(config_of(root)) for root in two]
    then = time.time() - 40 * 86400
    os.utime(found[0] / "pack.json", (then, then))
    (found[0].parent / "notes").mkdir()
    (found[0].parent / "notes/keep.txt").write_text("mine")
    monkeypatch.chdir(two[0].parent)
    return found


def left(packs: list[Path]) -> list[Path]:
    assert (packs[0].parent / "notes/keep.txt").read_text() == "mine"
    return [pack for pack in packs if pack.exists()]


def test_the_list_tells_name_images_size_age_and_origin(command, packs: list[Path], two: list[Path]) -> None:
    status, printed = command()
    assert status == 0
    lines = {pack: next(line for line in printed.splitlines() if pack.name in line) for pack in packs}
    assert "40 days" in lines[packs[0]]
    assert all(" 16 " in line and "MB" in line for line in lines.values())
    assert "".join(str(two[1]).split()) in "".join(printed.replace("│", "").split())
    assert "notes" not in printed
    status, printed = command("older_than=30d")
    assert packs[0].name in printed
    assert packs[1].name not in printed
    assert left(packs) == packs


def test_only_what_is_named_is_removed(command, packs: list[Path]) -> None:
    for arguments in (
        ["remove=notes"],
        ["remove=nothing"],
        ["remove=../packs"],
        ["remove=[nothing,tiny-*]"],
        ["remove="],
    ):
        status, printed = command(*arguments)
        assert status == 2, arguments
        assert printed.startswith("error: remove=")
        assert left(packs) == packs
    assert command("remove=tiny-*", "older_than=8w")[0] == 2
    status, printed = command("remove=tiny-*", "older_than=30d")
    assert status == 0
    assert packs[0].name in printed
    assert left(packs) == packs[1:]
    assert command(f"remove={packs[1].name}")[0] == 0
    assert left(packs) == []


def test_a_pack_that_is_a_link_is_left_to_the_person(command, packs: list[Path], tmp_path: Path) -> None:
    moved = packs[0].rename(tmp_path / "moved")
    packs[0].symlink_to(moved)
    status, printed = command(f"remove={packs[0].name}")
    assert (status, "is a link" in printed) == (2, True)
    assert (moved / "pack.json").exists()


@pytest.mark.parametrize("age", ["30", "d", "soon", "-3d", "3y"])
def test_an_age_without_a_unit_is_refused(command, packs: list[Path], age: str) -> None:
    status, printed = command(f"older_than={age}", "remove=tiny-*")
    assert status == 2
    assert "30d" in printed
    assert left(packs) == packs
