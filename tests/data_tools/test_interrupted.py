"""A `prepare` that is killed: no half pack, and the next one goes on where it stopped."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from drawn import configured, files_of, png, prepared, write_tree, write_zip

import data_tools.packs.pack
import data_tools.preparation
import data_tools.reading.decoded
import data_tools.reading.read
from data_tools.audit import audit
from data_tools.prepare import prepare
from foundation.files import atomic_folder

IMAGES = 32  # of each of the two sources

KILLED = textwrap.dedent("""
    import os, signal, sys
    import data_tools.reading.decoded, data_tools.reading.ordered, data_tools.packs.pack, data_tools.preparation
    import data_tools.prepare as command
    from pathlib import Path
    from data_tools.sources.class_folders import ClassFolders
    from drawn import configured

    data_tools.reading.decoded.PART_IMAGES = 8
    data_tools.reading.decoded.PART_SECONDS = 1e9
    data_tools.reading.ordered.CHUNK_ITEMS = 1

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    root, where = sys.argv[1:]
    if where.isdecimal():
        begin, read = [int(where)], ClassFolders._read
        def counting(*arguments):
            begin[0] -= 1
            return read(*arguments) if begin[0] >= 0 else die()
        ClassFolders._read = counting
    elif where == "merge":
        data_tools.preparation.merge = die
    else:
        data_tools.packs.pack.write_manifest = die
    command.prepare(configured(Path(root), "one", "two"))
""")


@pytest.fixture
def sources(root: Path) -> Path:
    files = files_of({"train": 8, "validation": 4, "test": 4})
    write_tree(root / "one", files | {"train/cat/cut.png": png(0)[:30], "train/notes.txt": b"?"})
    write_zip(root / "two.zip", files_of({"train": 8, "validation": 4, "test": 4}, first=500))
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is decoded from now on."""
    calls: list[bytes] = []
    decode = data_tools.reading.read.read_image

    def counting(data: bytes) -> np.ndarray:
        calls.append(data)
        return decode(data)

    monkeypatch.setattr(data_tools.reading.read, "read_image", counting)
    return calls


def kill(root: Path, where: str) -> None:
    """Prepare in a process of its own that is killed after so many images, or as soon as it merges or packs."""
    paths = [str(Path(data_tools.__file__).parents[1]), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), where], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL


# At most one part (8 images) and what the two workers have under way is decoded twice.
@pytest.mark.parametrize(("where", "least", "most"), [("25", 40, 57), ("50", 16, 32), ("merge", 0, 0), ("pack", 0, 0)])
def test_goes_on_where_it_stopped(
    sources: Path, decoded: list[bytes], where: str, least: int, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = prepared(configured(sources, "one", "two", data={"pack_dir": str(sources.parent / "whole")}))
    assert len(decoded) == 2 * IMAGES + 1
    decoded.clear()
    capsys.readouterr()
    kill(sources, where)
    packs = sources.parent / "packs"
    assert all(path.name.startswith(".") for path in packs.iterdir())
    for left in packs.glob(f".{whole.folder.name}.*"):
        os.utime(left, (0, 0))  # or it would count as another process's that has just begun
    pack = prepared(configured(sources, "one", "two"))
    assert least <= len(decoded) <= most
    assert pack.json["content_hash"] == whole.json["content_hash"]
    assert (pack.folder / "manifest.csv").read_bytes() == (whole.folder / "manifest.csv").read_bytes()
    assert [path.name for path in packs.iterdir()] == [pack.folder.name]
    out = capsys.readouterr().out
    assert "one: 1 files ignored that are not images" in out
    assert ("two: continuing after" in out) == (where == "50")


def test_nothing_is_taken_over_from_a_source_that_has_changed(sources: Path, decoded: list[bytes]) -> None:
    kill(sources, "merge")
    write_tree(sources / "one", {"train/cat/0.png": png(999)})
    pack = prepared(configured(sources, "one", "two"))
    assert len(decoded) == IMAGES + 1
    expected = np.random.default_rng(999).integers(0, 256, (8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(pack.images[pack.by_id["one:train/cat/0.png"].pack_row, :, :, 0], expected)
    assert [path.name for path in pack.folder.parent.iterdir() if path.suffix != ".lock"] == [pack.folder.name]


def test_a_change_that_the_fingerprint_misses_is_seen_where_the_source_is_read_again(
    sources: Path, decoded: list[bytes]
) -> None:
    kill(sources, "25")
    path = sources / "one/test/cat/0.png"
    before, size = path.stat(), path.stat().st_size
    path.write_bytes(png(998, compress_level=0)[:size].ljust(size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    pack = prepared(configured(sources, "one", "two"))
    row = pack.by_id["one:test/cat/0.png"]
    assert row.bytes_sha256 == data_tools.reading.read.bytes_sha256(path.read_bytes())
    assert len(decoded) == 2 * IMAGES + 1


def test_audit_and_prepare_take_each_others_images(
    sources: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, packs = configured(sources, "one", "two"), sources.parent / "packs"
    kill(sources, "merge")
    audit(config, sources.parent / "out")
    assert (len(decoded), [path for path in packs.iterdir() if path.suffix != ".lock"]) == (0, [])
    with monkeypatch.context() as patch:
        patch.setattr(data_tools.preparation, "merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            audit(config, sources.parent / "out")
    assert len(decoded) == 2 * IMAGES + 1
    prepare(config)
    assert len(decoded) == 2 * IMAGES + 1


def test_nothing_is_taken_over_for_other_class_maps(sources: Path, decoded: list[bytes]) -> None:
    write_tree(sources / "one", {"train/wolf/0.png": png(900)})
    kill(sources, "merge")
    pack = prepared(configured(sources, "one", "two", class_maps={"one": {"wolf": "dog"}}))
    assert len(decoded) == 2 * IMAGES + 2
    assert pack.by_id["one:train/wolf/0.png"].label == "dog"


@pytest.mark.parametrize("options", [{"image_size": 6}, {"label_map": {"kitten": "cat"}}, {"channels": 3}])
def test_nothing_is_taken_over_for_other_options(sources: Path, decoded: list[bytes], options: dict) -> None:
    kill(sources, "merge")
    pack = prepared(configured(sources, "one", "two", data=options))
    assert len(decoded) == 2 * IMAGES + 1
    assert pack.images.shape[1:] == (options.get("image_size", 8),) * 2 + (options.get("channels", 1),)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing"])
def test_a_damaged_part_counts_as_absent(sources: Path, decoded: list[bytes], damage: str) -> None:
    kill(sources, "merge")
    (folder,) = (sources.parent / "packs").glob(".decoded-one-*")
    part = folder / "part-00001.npz"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 0xFF
    part.write_bytes({"cut": data[:200], "flipped": data, "empty": b"", "missing": b""}[damage])
    if damage == "missing":
        part.unlink()
    pack = prepared(configured(sources, "one", "two"))
    assert len(decoded) == IMAGES + 1 - 8
    assert len(pack.images) == 2 * IMAGES


def test_an_interrupt_keeps_what_is_decoded_and_an_error_does_not(
    sources: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = sources.parent / "packs"
    for error, kept in ((KeyboardInterrupt, 2), (OSError, 0)):
        with monkeypatch.context() as patch:
            patch.setattr(
                data_tools.packs.pack, "write_manifest", lambda *_, error=error: (_ for _ in ()).throw(error())
            )
            with pytest.raises(error):
                prepare(configured(sources, "one", "two"))
        assert len(list(packs.iterdir())) == kept


def test_a_disk_too_full_for_keeping_does_not_stop_the_pack(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: object) -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_tools.reading.decoded, "_write_part", full)
    pack = prepared(configured(sources, "one", "two"))
    assert len(pack.images) == 2 * IMAGES
    assert [path.name for path in pack.folder.parent.iterdir() if path.suffix != ".lock"] == [pack.folder.name]


def test_a_folder_that_was_left_is_removed_only_when_nobody_is_writing_to_it(tmp_path: Path) -> None:
    abandoned = tmp_path / ".pack.abc"
    abandoned.mkdir()
    for name in (".pack.abc.lock", ".pack.def.lock"):
        (tmp_path / name).write_text("")
    with atomic_folder(tmp_path / "pack") as slow:
        assert not abandoned.exists()
        (slow / "x").write_text("slow")
        os.utime(slow, (0, 0))
        with atomic_folder(tmp_path / "pack") as quick:
            (quick / "x").write_text("quick")
        assert (tmp_path / "pack/x").read_text() == "quick"
    assert (tmp_path / "pack/x").read_text() == "slow"
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]
