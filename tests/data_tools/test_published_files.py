"""MNIST's and CIFAR's files as published, whole and broken, and the digits of scikit-learn."""

import contextlib
import gzip
import os
import pickle
import struct
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from array_files import NAMES, cifar_arrays, cifar_binary, cifar_python, idx, mnist_arrays, mnist_files
from drawn import Pack, encoded, prepared, write_tar, write_tree, write_zip
from hydra import compose, initialize_config_dir
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from data_tools.sources.base import Entry
from data_tools.sources.containers import Member, TarArchive
from data_tools.sources.find import make_source
from data_tools.sources.safe_pickle import PickleError, read_pickle
from foundation.config import config_dir
from foundation.errors import UserError


def pack_of(data: str, root: Path, *more: str) -> Pack:
    """The pack that `data=...` of the shipped configs makes below `root`."""
    overrides = [f"data={data}", f"data.root={root}", f"data.pack_dir={root.parent / 'packs'}", *more]
    if data == "digits":
        overrides.pop(1)
    else:  # the search for more takes its time
        overrides += ["merge.duplicates=pixels", "data.audit=pixels"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("prepare", overrides=overrides)
    return prepared(config)


def entries(root: Path, stem: str) -> list[Entry]:
    return list(make_source("x", str(root), {"kind": "files", "stem": stem}).entries())


def check_mnist(pack: Pack) -> None:
    arrays = mnist_arrays()
    for row in pack.rows:
        stem, index = row.path.rpartition("/")[2].split("-")[0], int(row.path.rpartition(":")[2])
        assert row.label == pack.json["classes"][arrays[f"{stem}-labels"][index]]
        np.testing.assert_array_equal(pack.images[row.pack_row, :, :, 0], arrays[f"{stem}-images"][index])
        assert (row.split == "test") == (stem == "t10k")
    assert len(pack.rows) == 50


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("style", ["-idx{}-ubyte.gz", "-idx{}-ubyte", ".idx{}-ubyte"])
@pytest.mark.parametrize("place", ["folder", "zip", "tar.gz", "root"])
def test_mnist_as_published(root: Path, data: str, style: str, place: str) -> None:
    files = mnist_files(style)
    if place == "root":
        write_tree(root, files)
    elif place == "folder":
        write_tree(root / data / "raw", files)
    else:
        (write_zip if place == "zip" else write_tar)(root / f"{data}.{place}", files)
    check_mnist(pack_of(data, root))


def test_mnist_with_each_file_twice(root: Path) -> None:
    """As in a well-known download: `train-images.idx3-ubyte`, and again in a folder of that name."""
    files = mnist_files(".idx{}-ubyte")
    twice = {f"{name.replace('.', '-')}/{name.replace('.', '-')}": data for name, data in files.items()}
    write_zip(root / "mnist.zip", files | twice)
    check_mnist(pack_of("mnist", root))


def test_mnist_as_png_folders(root: Path) -> None:
    files = {}
    for stem, split in (("train", "training"), ("t10k", "testing")):
        images, labels = mnist_arrays()[f"{stem}-images"], mnist_arrays()[f"{stem}-labels"]
        files |= {f"mnist_png/{split}/{label}/{i}.png": encoded(images[i]) for i, label in enumerate(labels)}
    write_tree(root, files)
    pack = pack_of("mnist", root)
    assert Counter(row.original_split for row in pack.rows) == {"train": 30, "test": 20}
    assert not pack.where(status="set_aside")


IMAGES = "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (IMAGES, b"", r"train-images.* is no IDX file"),
        (IMAGES, b"<html>404</html>", "is no IDX file"),
        (IMAGES, idx(np.zeros((30, 28, 28), np.uint8), kind=13), "type 0x0d"),
        (IMAGES, idx(np.zeros((30, 784), np.uint8)), "has 2 dimensions instead of 3"),
        (IMAGES, idx(np.zeros((30, 28, 28), np.uint8))[:-5], "is damaged or incomplete: its header says 23,520 bytes"),
        (IMAGES, idx(np.zeros((30, 28, 28), np.uint8)) + b"x", "has bytes behind its end"),
        (IMAGES, struct.pack(">4I", 0x803, *[2**32 - 1] * 3), "is damaged or incomplete"),
        (IMAGES, idx(np.zeros((29, 28, 28), np.uint8)), "has 29 images, but .* has 30 labels"),
        (IMAGES, b"\0\0\x08\x03\0\0", "is damaged or incomplete"),
        (
            f"{IMAGES}.gz",
            gzip.compress(idx(np.zeros((30, 28, 28), np.uint8)), mtime=0)[:-30],
            "is damaged or incomplete",
        ),
        (f"{IMAGES}.gz", b"\x1f\x8b" + bytes(40), "is damaged or incomplete"),
    ],
)
def test_a_damaged_idx_file_is_refused_in_one_line(root: Path, name: str, data: bytes, message: str) -> None:
    files = mnist_files("-idx{}-ubyte")
    files.pop(IMAGES)
    write_tree(root / "mnist", files | {name: data})
    with pytest.raises(UserError, match=message) as refused:
        entries(root, "mnist")
    assert str(refused.value).isprintable()


def test_idx_files_that_do_not_belong_together(root: Path) -> None:
    files = mnist_files("-idx{}-ubyte")
    write_tree(root / "one", {name: data for name, data in files.items() if name != "t10k-labels-idx1-ubyte"})
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte, but no file of test labels"):
        entries(root, "one")
    write_tree(root / "two", files | {f"emnist-{name}": data for name, data in files.items()})
    with pytest.raises(UserError, match="several collections of IDX files: '', 'emnist-'"):
        entries(root, "two")


def check_cifar(pack: Pack) -> None:
    for row in pack.rows:
        name, index = row.path.rpartition("/")[2].split(":")
        batch, labels = cifar_arrays()[name.removesuffix(".bin")]
        assert row.label == NAMES[labels[int(index)]]
        red, green, blue = batch[int(index)].reshape(3, 32, 32)
        np.testing.assert_array_equal(pack.images[row.pack_row], np.dstack([red, green, blue]))
        assert (row.split == "test") == (name.startswith("test"))
    assert len(pack.rows) == 60


@pytest.mark.parametrize("place", ["cifar-10-{}.tar.gz", "cifar-10-batches-{}", "cifar10.zip", "."])
@pytest.mark.parametrize("kind", ["binary", "python"])
def test_cifar_as_published(root: Path, kind: str, place: str) -> None:
    files = cifar_binary() if kind == "binary" else cifar_python()
    place = place.format(kind) if "tar" in place else place.format("bin" if kind == "binary" else "py")
    if place.endswith((".gz", ".zip")):
        (write_zip if place.endswith("zip") else write_tar)(root / place, files)
    else:  # unpacked: the batches lie in the folder itself
        write_tree(root / place, {name.partition("/")[2]: data for name, data in files.items()})
    check_cifar(pack_of("cifar10", root))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_every_protocol_of_a_batch_is_read(root: Path, protocol: int) -> None:
    write_tree(root, cifar_python(protocol))
    check_cifar(pack_of("cifar10", root))


def test_cifar_without_its_file_of_names_has_numbers(root: Path) -> None:
    files = {name: data for name, data in cifar_python().items() if "meta" not in name}
    write_tree(root, files)
    assert {entry.label for entry in entries(root, "cifar-10-batches-py")} == set("0123456789")
    check_cifar(pack_of("cifar10", root))


def test_cifar_as_png_folders(root: Path) -> None:
    files = {}
    for name, (rows, labels) in cifar_arrays().items():
        split = "test" if name == "test_batch" else "train"
        for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
            files[f"cifar10/{split}/{NAMES[label]}/{name}-{i}.png"] = encoded(row.reshape(3, 32, 32).transpose(1, 2, 0))
    write_tree(root, files)
    pack = pack_of("cifar10", root)
    assert Counter(row.original_split for row in pack.rows) == {"train": 50, "test": 10}


class Hostile:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, function: object = os.system, *arguments: object) -> None:
        self._call = function, arguments or ("touch executed",)

    def __reduce__(self) -> tuple:
        return self._call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "content",
    [
        Hostile(),
        {b"data": Hostile(), b"labels": [1]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [Hostile(eval, "1")]},
        {Hostile(exec, "1"): 1},
        {b"data": Hostile(getattr, os, "system"), b"labels": []},
    ],
    ids=["command", "as data", "as label", "as key", "attribute"],
)
def test_a_hostile_batch_is_refused_and_nothing_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch, content: object, protocol: int
) -> None:
    monkeypatch.chdir(root)
    try:
        data = pickle.dumps(content, protocol)
    except TypeError:  # a module cannot be written
        data = b"cos\nsystem\n(S'touch executed'\ntR."
    write_tree(root, cifar_python() | {"cifar-10-batches-py/data_batch_3": data})
    with pytest.raises(
        UserError, match=r"data_batch_3 in .* is not a batch of CIFAR that can be read safely"
    ) as refused:
        entries(root, "cifar-10-batches-py")
    assert "\n" not in str(refused.value)
    assert not (root / "executed").exists()


ODD = {
    "a list": [1, 2],
    "no data": {b"labels": [1]},
    "no labels": {b"data": np.zeros((1, 3072), np.uint8)},
    "floats": {b"data": np.zeros((1, 3072)), b"labels": [1]},
    "objects": {b"data": np.array([[None] * 3072], object), b"labels": [1]},
    "other width": {b"data": np.zeros((1, 3071), np.uint8), b"labels": [1]},
    "column by column": {b"data": np.asfortranarray(np.zeros((2, 3072), np.uint8)), b"labels": [1, 2]},
    "more labels": {b"data": np.zeros((1, 3072), np.uint8), b"labels": [1, 2]},
    "labels of text": {b"data": np.zeros((1, 3072), np.uint8), b"labels": ["cat"]},
    "negative label": {b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]},
    "deep": {b"data": [[[[[[1]]]]]], b"labels": [1]},
    "a set": {b"data": {1, 2}, b"labels": [1]},
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_something_else_is_refused_in_one_line(root: Path, kind: str, protocol: int) -> None:
    write_tree(root, cifar_python() | {"cifar-10-batches-py/data_batch_3": pickle.dumps(ODD[kind], protocol)})
    with pytest.raises(UserError, match="data_batch_3") as refused:
        entries(root, "cifar-10-batches-py")
    assert str(refused.value).isprintable()


def test_a_pickle_that_refers_to_itself_or_doubles_at_each_level_ends() -> None:
    loop: list = []
    loop.append(loop)
    wide: list = [1] * 100
    for _ in range(3):
        wide = [wide] * 100
    for content in (loop, {b"data": loop}):
        with pytest.raises(PickleError):
            read_pickle(pickle.dumps(content, 2))
    assert len(read_pickle(pickle.dumps(wide, 2))) == 100


@given(st.binary(max_size=200))
def test_any_bytes_are_a_pickle_or_refused(data: bytes) -> None:
    with contextlib.suppress(PickleError):
        read_pickle(data)


@given(st.integers(0, 3500), st.integers(0, 255))
@example(119, 92)  # text in quotes with an unknown escape
def test_a_batch_with_one_byte_changed_is_read_or_refused(place: int, value: int) -> None:
    batch = {b"labels": [3], b"data": np.arange(3072).astype(np.uint8)[None]}
    data = bytearray(pickle.dumps(batch, 2))
    data[place % len(data)] = value
    with contextlib.suppress(PickleError):
        read_pickle(bytes(data))


@pytest.mark.parametrize("cut", [0, 1, 3073, 3074, 30729])
def test_a_binary_batch_cut_short_is_refused(root: Path, cut: int) -> None:
    files = cifar_binary()
    name = "cifar-10-batches-bin/data_batch_2.bin"
    write_tree(root, files | {name: files[name][:cut]})
    if cut == 3073:  # a whole row: a batch may have any number of rows
        assert len(entries(root, "cifar-10-batches-bin")) == 51
        return
    with pytest.raises(UserError, match=r"data_batch_2\.bin .* damaged or incomplete"):
        entries(root, "cifar-10-batches-bin")


def test_a_label_above_the_names_costs_one_image(root: Path) -> None:
    files = cifar_binary()
    name = "cifar-10-batches-bin/data_batch_2.bin"
    write_tree(root, files | {name: b"\x0b" + files[name][1:]})
    assert [entry.error for entry in entries(root, "cifar-10-batches-bin") if entry.error] == [
        "there is no class number 11"
    ]


def test_the_archives_members_are_opened_in_one_order_however_they_lie(root: Path) -> None:
    """The names of the classes come last in the archive."""
    files = cifar_python()
    meta = files.pop("cifar-10-batches-py/batches.meta")
    write_tar(root / "cifar-10-python.tar.gz", files | {"cifar-10-batches-py/batches.meta": meta})
    assert {entry.label for entry in entries(root, "cifar-10-python")} == set(NAMES)


def test_a_link_in_the_archive_is_not_a_batch(root: Path) -> None:
    link = tarfile.TarInfo("cifar-10-batches-py/data_batch_6")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    write_tar(root / "cifar-10-python.tar.gz", cifar_python(), (link,))
    assert len(entries(root, "cifar-10-python")) == 60


def test_the_digits(root: Path) -> None:
    pack = pack_of("digits", root, "data.image_size=8")
    digits = load_digits()
    assert len(pack.rows) == 1797
    for row in pack.rows:
        if row.packed:
            index = int(row.path)
            assert row.label == str(digits.target[index])
            np.testing.assert_allclose(pack.images[row.pack_row, :, :, 0] / 255 * 16, digits.images[index], atol=0.04)
    assert len(pack.images) >= 1790  # equal images are one
    assert {int(split) for split in pack.splits} == {0, 1, 2}


def test_the_digits_read_nothing(root: Path) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("prepare", overrides=["data=digits", "data.root=pets", f"data.pack_dir={root}"])
    with pytest.raises(UserError, match=r"data\.root: the digits come with scikit-learn.* data=folder data\.path=pets"):
        prepared(config)


@pytest.mark.parametrize(
    "files", [mnist_files(), cifar_binary(), cifar_python()], ids=["MNIST", "CIFAR", "its pickles"]
)
@pytest.mark.parametrize("late", [False, True])
def test_a_tar_is_passed_over_once(root: Path, monkeypatch: pytest.MonkeyPatch, files: dict, late: bool) -> None:
    """Whatever the order of its files: labels before images or behind them, names of classes first or last."""
    write_tree(root / "whole", files)
    write_tar(root / "x.tar.gz", dict(sorted(files.items(), reverse=late)))
    opened: list[Path] = []
    whole = TarArchive.members

    def members(archive: TarArchive) -> Iterator[Member]:
        opened.append(archive.path)
        return whole(archive)

    monkeypatch.setattr(TarArchive, "members", members)
    found = {entry.path: (entry.label, entry.pixels.tobytes()) for entry in entries(root, "x.tar.gz")}
    assert found == {entry.path: (entry.label, entry.pixels.tobytes()) for entry in entries(root, "whole")}
    assert opened == [root / "x.tar.gz"]
